//! A client of a feed: connects, remembers its place, comes back to it, and gives each event once. What is done with the
//! events is not here.

mod retry;
mod seen;
mod token;

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::error::Error;
use retry::Retry;
use seen::Seen;
pub(super) use token::{Token, TokenArgs};

/// A server that takes a connection and does not answer is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which nothing came for this long is asked whether it is still there: a peer may vanish unheard.
const QUIET_MAX: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5000 });

/// How long the answer may take. To come back costs little, so a slow one may be given up.
const ANSWER_TIMEOUT: Duration = QUIET_MAX;

/// Close codes that say that to come back cannot help: bugs, and rights that are missing.
const FINAL_CLOSE_CODES: [u16; 6] = [1002, 1007, 1009, 4001, 4003, 4400];

/// What of a feed is wanted, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The server's WebSocket.
    pub url: String,
    /// Channels and patterns.
    pub channels: Vec<String>,
    /// `now`, `earliest`, or a cursor.
    pub since: String,
    /// Who asks, where that is asked.
    pub token: Option<Token>,
    /// The name under which the server knows the client.
    pub name: &'static str,
}

/// What happened on the way to the next event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// Everything from the place asked for will come. Said for every connection.
    Subscribed,
    /// An event, as the frame it came in.
    Event(Utf8Bytes),
    /// An event that had come before the connection was cut, and is not given again.
    Repeat,
    /// What was missed has come; from here on events come as they happen.
    CaughtUp,
    /// What was missed cannot be told, for this reason: refetch your state.
    Reset(String),
    /// The connection ended, for this reason; the next update comes from a new one.
    Disconnected(String),
}

/// Whatever follows a feed, on any transport.
pub(super) trait Follow: Send {
    /// The next thing that happens. It can be dropped half way and nothing is missed.
    ///
    /// # Errors
    /// When trying again cannot help.
    fn next(&mut self) -> BoxFuture<'_, Result<Update, Error>>;
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Follows a feed over its WebSocket.
pub(super) struct Client {
    wanted: Wanted,
    socket: Option<Connected>,
    retry: Retry,
    seen: Seen,
    /// Whether there was a server there before: then one that is not there now will be again.
    welcomed: bool,
}

/// A connection, and when to doubt it.
struct Connected {
    socket: Socket,
    subscribed: bool,
    doubt_at: Instant,
    /// Whether it was asked if it is still there.
    asked: bool,
}

/// What a client must understand of a frame.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    r#type: String,
    event: Option<EventKey>,
    cursor: Option<String>,
    reason: Option<String>,
    code: Option<String>,
    message: Option<String>,
    reconnect: Option<bool>,
    retry_after_ms: Option<u64>,
}

/// What tells one event from another. An event that is no row may have neither, or have them be anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventKey {
    #[serde(default)]
    id: serde_json::Value,
    #[serde(default)]
    created_at: serde_json::Value,
}

impl Client {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            socket: None,
            retry: Retry::new(Instant::now()),
            seen: Seen::default(),
            welcomed: false,
        }
    }

    /// Leaves in good manners.
    pub(super) async fn close(mut self) {
        if let Some(mut connected) = self.socket.take() {
            // The server need not know why we go.
            let _ = timeout(ANSWER_TIMEOUT, connected.socket.close(None)).await;
        }
    }

    /// As [`Follow::next`].
    pub(super) async fn next(&mut self) -> Result<Update, Error> {
        loop {
            let Some(connected) = &mut self.socket else {
                self.connect().await?;
                continue;
            };
            match connected.hear().await {
                Ok(Message::Text(text)) => {
                    if let Some(update) = self.take(text)? {
                        return Ok(update);
                    }
                }
                Ok(Message::Close(frame)) => self.check_close(frame)?,
                Ok(_) => {}
                Err(why) => {
                    self.socket = None;
                    self.retry.ended(Instant::now());
                    return Ok(Update::Disconnected(why));
                }
            }
        }
    }

    /// Connects and subscribes. A server that is not there is tried again, unless it never was.
    async fn connect(&mut self) -> Result<(), Error> {
        sleep_until(self.retry.due()).await;
        // Before the attempt: it may be dropped half way, and is one all the same.
        self.retry.attempt(Instant::now());
        let url = &self.wanted.url;
        let connecting =
            async { connect_async(token::request(url, self.wanted.token.as_ref())?).await };
        let connecting = timeout(CONNECT_TIMEOUT, connecting);
        let error = match connecting.await {
            Ok(Ok((mut socket, _))) => {
                let hello = json!({
                    "type": "hello", "client": {"name": self.wanted.name, "version": env!("CARGO_PKG_VERSION")},
                    "channels": self.wanted.channels, "since": self.wanted.since,
                });
                let hello = Message::text(hello.to_string());
                match timeout(CONNECT_TIMEOUT, socket.send(hello)).await {
                    Ok(Ok(())) => {
                        self.welcomed = true;
                        self.socket = Some(Connected {
                            socket,
                            subscribed: false,
                            doubt_at: Instant::now() + QUIET_MAX,
                            asked: false,
                        });
                        return Ok(());
                    }
                    Ok(Err(error)) => error,
                    Err(_) => no_answer(),
                }
            }
            Ok(Err(error)) => error,
            Err(_) => no_answer(),
        };
        let unfit = match &error {
            WsError::Url(_) | WsError::HttpFormat(_) => true,
            // What answers is no rowcast, or says that it has no feed there. A proxy in front of one that is being
            // restarted says that it is not there just now.
            WsError::Http(answer) => !self.welcomed || answer.status().is_client_error(),
            _ => false,
        };
        if unfit {
            return Err(Error::Config(format!(
                "--url {url}: {error}; it is the WebSocket that the server's banner shows"
            )));
        }
        if !self.welcomed {
            return Err(Error::Io {
                doing: format!("connect to {url}"),
                source: std::io::Error::other(format!(
                    "{error} (is the server running? start it with `rowcast`)"
                )),
            });
        }
        tracing::debug!(%error, "failed to connect to {url}");
        Ok(())
    }

    /// Notes what a frame says about the place in the feed, and gives what it says to others.
    fn take(&mut self, text: Utf8Bytes) -> Result<Option<Update>, Error> {
        let Ok(frame) = serde_json::from_str::<Frame>(&text) else {
            let text = text.as_str();
            tracing::warn!(text, "the server sent something that is no frame of ours");
            return Ok(None);
        };
        let update = match frame.r#type.as_str() {
            "event" => {
                let key = frame.event.as_ref().and_then(EventKey::hash);
                if key.is_none_or(|key| self.seen.is_new(key)) {
                    Some(Update::Event(text))
                } else {
                    Some(Update::Repeat)
                }
            }
            "subscribed" => {
                self.retry.worked();
                if let Some(connected) = &mut self.socket {
                    connected.subscribed = true;
                }
                Some(Update::Subscribed)
            }
            "caught_up" => Some(Update::CaughtUp),
            "reset" => Some(Update::Reset(frame.reason.unwrap_or_default())),
            "error" => {
                self.refused(&frame)?;
                None
            }
            "disconnect" => {
                if frame.reconnect == Some(false) {
                    return Err(self.gone_for_good(&frame.code.unwrap_or_default()));
                }
                if let Some(after) = frame.retry_after_ms {
                    self.retry.at(Instant::now() + Duration::from_millis(after));
                }
                None
            }
            _ => None,
        };
        // After the event itself, which is behind it.
        if let Some(cursor) = frame.cursor {
            self.seen.cursor();
            self.wanted.since = cursor;
        }
        Ok(update)
    }

    /// A request was refused. Without its subscription a client would wait for ever.
    fn refused(&mut self, frame: &Frame) -> Result<(), Error> {
        let message = frame.message.as_deref().unwrap_or_default();
        let code = frame.code.as_deref().unwrap_or_default();
        if self.socket.as_ref().is_none_or(|socket| socket.subscribed) {
            tracing::warn!(code, "the server refuses a request: {message}");
        } else if let Some(after) = frame.retry_after_ms {
            tracing::warn!(code, "the server says to come later: {message}");
            self.retry.at(Instant::now() + Duration::from_millis(after));
            self.socket = None;
        } else {
            let hint = if code == "UNAUTHORIZED" && self.wanted.token.is_none() {
                "; here: --token-file FILE, or ROWCAST_TOKEN"
            } else {
                ""
            };
            return Err(Error::Config(format!(
                "the server refuses: {message} ({code}){hint}"
            )));
        }
        Ok(())
    }

    fn check_close(&self, frame: Option<CloseFrame>) -> Result<(), Error> {
        match frame {
            Some(frame) if FINAL_CLOSE_CODES.contains(&frame.code.into()) => {
                Err(self.gone_for_good(&format!("{} {}", u16::from(frame.code), frame.reason)))
            }
            _ => Ok(()),
        }
    }

    fn gone_for_good(&self, why: &str) -> Error {
        Error::Io {
            doing: format!("follow {}", self.wanted.url),
            source: std::io::Error::other(format!(
                "the server closed the connection for good: {why}"
            )),
        }
    }
}

impl Follow for Client {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, Error>> {
        Box::pin(Client::next(self))
    }
}

impl Connected {
    /// The next message, or why there will be none.
    async fn hear(&mut self) -> Result<Message, String> {
        loop {
            match timeout_at(self.doubt_at, self.socket.next()).await {
                Ok(Some(Ok(message))) => {
                    self.doubt_at = Instant::now() + QUIET_MAX;
                    self.asked = false;
                    return Ok(message);
                }
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(None) => return Err("closed".into()),
                Err(_) if self.asked => return Err("no answer".into()),
                Err(_) => {
                    self.asked = true;
                    self.doubt_at = Instant::now() + ANSWER_TIMEOUT;
                    // Its answer has a cursor, too: the place stays fresh where nothing happens.
                    let ping = Message::text(json!({"type": "ping"}).to_string());
                    match timeout_at(self.doubt_at, self.socket.send(ping)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(error.to_string()),
                        Err(_) => return Err("no answer".into()),
                    }
                }
            }
        }
    }
}

impl EventKey {
    /// Of a row only. The time counts too: ids that a crash of the database has forgotten are given out again.
    fn hash(&self) -> Option<u64> {
        let (id, created_at) = (self.id.as_i64()?, self.created_at.as_str()?);
        Some(BuildHasherDefault::<DefaultHasher>::default().hash_one((id, created_at)))
    }
}

fn no_answer() -> WsError {
    WsError::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "no answer",
    ))
}

#[cfg(test)]
mod tests;
