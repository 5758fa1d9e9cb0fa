//! Server-sent events: `GET /sse`, for a plain `EventSource`. The same hub, the same frames; the id of a message is the
//! cursor, so that the browser itself resumes all channels.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use bytes::Bytes;
use futures_util::stream::Stream;
use tokio::time::{Instant, sleep_until};
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::reply::{Reply, Response};

use super::granted::Granted;
use super::head::{CHANNEL_TOKEN, Head};
use super::outbox::Outbox;
use super::query::Refusal;
use crate::hub::{Hub, Request, Seat};
use crate::limits::UserPlace;
use crate::protocol::{ResetReason, ServerFrame, Since};

/// Something is sent at least this often, so that nobody between takes the connection for dead: proxies give up after 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A browser that was cut off comes back after a time between these, in milliseconds, its own.
const RETRY_MS: std::ops::Range<u32> = 500..2500;

/// What a browser sends when it comes back: the id of the last message.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn answer(hub: Hub, head: Head) -> Result<Response, Refusal> {
    let (identity, place) = head.identity().await?;
    let query = &head.query(&["channels", "since", "named", "presence", CHANNEL_TOKEN])?;
    let channels = query.channels(hub.options().subscriptions_max)?;
    let permits = head.permits(&identity, query).await?;
    Granted::of(&identity, &permits, &channels)?;
    let since = query.since("since")?;
    // The URL stays as it was when the browser comes back, so this comes first. A browser never tries again that is told
    // of a mistake; so one with an id that is none of ours is told to refetch instead.
    let last = head
        .headers
        .get(LAST_EVENT_ID)
        .filter(|id| !id.is_empty())
        .map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    let shape = hub.shapes().sse(query.has("named")).clone();
    let outbox = Arc::new(Outbox::new(None, None, hub.options().outbox_bytes_max));
    let outlet = Arc::clone(&outbox) as Arc<_>;
    let seat = hub
        .open(outlet, shape.clone(), Some(Arc::clone(&identity)))
        .await;
    let connection = seat.connection();
    let since = match last {
        None => since,
        Some(Some(cursor)) => vec![Since::Cursor(cursor)],
        Some(None) => {
            let reset = ServerFrame::Reset {
                reason: ResetReason::Epoch,
                cursor: &hub.edge(),
            };
            outbox.push(&reset.encode(&shape));
            vec![Since::Now]
        }
    };
    for since in since {
        let subscribe = Request::Subscribe {
            connection,
            id: None,
            channels: channels.clone(),
            since,
            permits: permits.clone(),
            presence: query.has("presence"),
        };
        seat.ask(subscribe).await;
    }
    head.check_again(&identity, &permits)?;
    let body = messages(Listener {
        seat,
        outbox,
        _place: place,
    });
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // nginx would collect it.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// A client that listens, until it is dropped.
struct Listener {
    seat: Seat,
    outbox: Arc<Outbox>,
    _place: Option<UserPlace>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.outbox.stop();
    }
}

/// What waits in the outbox, as it comes. The client is gone when this is dropped.
fn messages(listener: Listener) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream! {
        let Listener { seat, outbox, .. } = &listener;
        yield Ok(format!("retry: {}\n\n", fastrand::u32(RETRY_MS)).into());
        let mut quiet_until = Instant::now() + KEEP_ALIVE;
        loop {
            while let Some(first) = outbox.front() {
                outbox.sent(first.len());
                yield Ok(first);
                quiet_until = Instant::now() + KEEP_ALIVE;
            }
            // A browser comes back by itself.
            if outbox.take_close().is_some() {
                return;
            }
            tokio::select! {
                () = outbox.asked(true) => {}
                () = sleep_until(quiet_until) => {
                    quiet_until = Instant::now() + KEEP_ALIVE;
                    seat.ask(Request::KeepAlive { connection: seat.connection() }).await;
                }
            }
        }
    }
}
