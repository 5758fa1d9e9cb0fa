//! A WebSocket after its handshake: the codec on the way in, the outbox on the way out, and a proper end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tungstenite::protocol::frame::CloseFrame;

use super::codec::Codec;
use super::outbox::{Outbox, Work};
use super::wire::Wire;
use crate::hub::Hub;
use crate::limits::Place;
use crate::protocol::CloseCode;
use crate::session::{Entrance, Session};

/// Messages of one client handled before others get their turn.
const MESSAGES_PER_TURN: usize = 32;

/// How long a client may take to answer a close. After that the connection is cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read at once. Whoever sends more waits until others had their turn.
const READ_BYTES: usize = 4096;

/// Serves a client over TCP until it leaves. `early` is what was read behind the handshake.
pub(super) fn serve_tcp(
    hub: Hub,
    entrance: Entrance,
    place: Option<Arc<Place>>,
    stream: TcpStream,
    early: Bytes,
) -> impl Future<Output = ()> {
    let bytes_max = hub.options().outbox_bytes_max;
    let outbox = Arc::new(Outbox::new(Some(stream), place, bytes_max));
    // What takes a moment only is boxed, here and below: the future that serves is allocated for as long as the client
    // stays. What it is made of would stay in it beside what it is made into.
    let opening = Box::pin(open_tcp(hub, entrance, Arc::clone(&outbox), early));
    serve(outbox, opening)
}

async fn open_tcp(hub: Hub, entrance: Entrance, outbox: Arc<Outbox>, early: Bytes) -> (Peer, Flow) {
    let mut peer = Peer::open(hub, entrance, Arc::clone(&outbox)).await;
    // What came with the handshake is not announced by the socket again.
    let flow = peer.receive(&mut Wire::new(&early, false, &outbox)).await;
    (peer, flow)
}

async fn serve(outbox: Arc<Outbox>, opening: Pin<Box<impl Future<Output = (Peer, Flow)>>>) {
    let (mut peer, mut flow) = opening.await;
    while flow == Flow::Open {
        flow = peer.turn(&outbox).await;
    }
    // The hub is done with it before the goodbye.
    peer.session.leave();
    let goodbye = async {
        while flow == Flow::Closing {
            flow = peer.turn(&outbox).await;
        }
        if flow == Flow::Ending {
            end(&outbox).await;
        }
    };
    // A client that does not answer is cut off.
    let _ = Box::pin(timeout(CLOSE_TIMEOUT, goodbye)).await;
}

/// Sends what waits, which ends with the close, and hangs up. Reads on without looking until the client hangs up too:
/// a stream dropped with unread input is reset, and the client would lose our last frame.
async fn end(outbox: &Outbox) {
    let tcp = outbox.tcp();
    let mut buffer = [0; 1024];
    let mut hung_up = false;
    loop {
        let interest = match (outbox.has_queue(), hung_up) {
            (true, true) => Interest::WRITABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => return,
            (false, false) => {
                let _ = socket2::SockRef::from(tcp).shutdown(std::net::Shutdown::Write);
                Interest::READABLE
            }
        };
        let Ok(ready) = tcp.ready(interest).await else {
            return;
        };
        if ready.is_writable() && outbox.flush().is_err() {
            return;
        }
        if ready.is_readable() || ready.is_read_closed() {
            match tcp.try_read(&mut buffer) {
                Ok(1..) => {}
                Ok(0) => hung_up = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Serves a client over any other stream until it leaves.
pub(super) async fn serve_stream<S: AsyncRead + AsyncWrite>(
    hub: Hub,
    entrance: Entrance,
    place: Option<Arc<Place>>,
    stream: S,
) {
    let outbox = Arc::new(Outbox::new(None, place, hub.options().outbox_bytes_max));
    let mut peer = Peer::open(hub, entrance, Arc::clone(&outbox)).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = vec![0; READ_BYTES];
    let mut flow = Flow::Open;
    let mut cut_off = None;
    let mut unflushed = false;
    while matches!(flow, Flow::Open | Flow::Closing) {
        let front = outbox.front();
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(read) = read else { break };
                flow = peer.receive(&mut Wire::new(&buffer[..read], read == 0, &outbox)).await;
            }
            // One future for both: they share the writer. Neither loses bytes when another branch is first.
            written = async {
                match &front {
                    Some(front) => writer.write(front).await,
                    None => writer.flush().await.map(|()| 0),
                }
            }, if front.is_some() || unflushed => {
                let Ok(written) = written else { break };
                if front.is_some() {
                    outbox.sent(written);
                }
                // Streams that encrypt may keep what they were given until they are told to send it.
                unflushed = front.is_some();
            }
            () = outbox.asked(front.is_none()) => flow = peer.close_if_asked(&outbox, flow),
            () = tokio::time::sleep_until(cut_off.unwrap_or_else(tokio::time::Instant::now)), if cut_off.is_some() => break,
        }
        if flow == Flow::Closing && cut_off.is_none() {
            peer.session.leave();
            cut_off = Some(tokio::time::Instant::now() + CLOSE_TIMEOUT);
        }
    }
    peer.session.leave();
    if flow != Flow::Ending {
        return;
    }
    // As `end` does it: the last frame is the close, and has to leave before the stream does.
    let goodbye = async {
        while let Some(front) = outbox.front() {
            let written = writer.write(&front).await?;
            outbox.sent(written);
        }
        writer.shutdown().await?;
        while reader.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}

/// How things stand with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// A close was sent or received, and the other is awaited.
    Closing,
    /// Our last frame is on its way, and nothing that the client sends matters any more.
    Ending,
    /// The client has hung up.
    Over,
}

/// The client at the other end.
struct Peer {
    session: Session,
    message_bytes_max: usize,
    /// Whether it may compress what it says.
    is_deflated: bool,
    /// None between two messages, which is where thousands are.
    codec: Option<Box<Codec>>,
}

impl Peer {
    async fn open(hub: Hub, entrance: Entrance, outbox: Arc<Outbox>) -> Self {
        Self {
            message_bytes_max: hub.options().message_bytes_max,
            is_deflated: entrance.terms.shape.is_deflated(),
            session: Session::open(&hub, outbox, entrance).await,
            codec: None,
        }
    }

    /// Waits until there is something to do, and does it.
    async fn turn(&mut self, outbox: &Outbox) -> Flow {
        match poll_fn(|context| outbox.poll_work(context)).await {
            Ok(Work::Close) => return self.close_if_asked(outbox, self.flow()),
            Ok(Work::Write) => {
                if outbox.flush().is_err() {
                    return Flow::Over;
                }
            }
            // While there is something to read only: thousands are idle.
            Ok(Work::Read) => return Box::pin(self.read(outbox)).await,
            Err(_) => return Flow::Over,
        }
        self.flow()
    }

    /// Reads what there is, up to a limit, and handles it.
    async fn read(&mut self, outbox: &Outbox) -> Flow {
        let mut read = Vec::with_capacity(READ_BYTES);
        match outbox.tcp().try_read_buf(&mut read) {
            Ok(bytes) => {
                let is_over = bytes == 0;
                let flow = self.receive(&mut Wire::new(&read, is_over, outbox)).await;
                if bytes == READ_BYTES {
                    // There is more, and others come first.
                    tokio::task::yield_now().await;
                }
                flow
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.flow(),
            Err(_) => Flow::Over,
        }
    }

    fn flow(&self) -> Flow {
        let codec = self.codec.as_ref();
        if codec.is_none_or(|codec| codec.is_open()) {
            Flow::Open
        } else {
            Flow::Closing
        }
    }

    fn codec(&mut self) -> &mut Codec {
        let (limit, is_deflated) = (self.message_bytes_max, self.is_deflated);
        self.codec
            .get_or_insert_with(|| Box::new(Codec::new(limit, is_deflated)))
    }

    /// Handles what was read of the client, to the end.
    async fn receive(&mut self, wire: &mut Wire<'_>) -> Flow {
        let mut messages = 0;
        loop {
            match self.codec().read(wire) {
                Ok(message) => {
                    if message.is_close() && !self.session.has_left() {
                        wire.outbox().stop();
                    }
                    self.handle(message).await;
                    if wire.outbox().is_flooded() {
                        self.session.flooded();
                    }
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let flow = self.flow();
                    self.codec
                        .take_if(|codec| codec.is_open() && codec.is_between_messages());
                    return flow;
                }
                Err(error) => return self.fail(wire, &error),
            }
            messages += 1;
            if messages % MESSAGES_PER_TURN == 0 {
                tokio::task::yield_now().await;
                // A client that never pauses is written to, and closed, like any other.
                if wire.outbox().flush().is_err() {
                    return Flow::Over;
                }
                if self.close_if_asked(wire.outbox(), self.flow()) == Flow::Over {
                    return Flow::Over;
                }
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        if self.session.has_left() {
            return;
        }
        match message {
            Message::Text(text) => self.session.text(&text).await,
            Message::Binary(_) => self.session.binary(),
            // The codec answers a ping, with its next read.
            Message::Ping(_) => self.session.ping(),
            Message::Pong(_) => self.session.pong(),
            Message::Close(_) | Message::Frame(_) => {}
        }
    }

    /// Tells the client why the connection ends, where it can still be told.
    fn fail(&mut self, wire: &mut Wire<'_>, error: &WsError) -> Flow {
        let code = match error {
            // Both have said goodbye.
            WsError::ConnectionClosed => return Flow::Ending,
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Flow::Over,
            // We have said goodbye, and the client talks nonsense.
            _ if self.session.has_left() => return Flow::Ending,
            WsError::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::MessageTooBig,
            WsError::Utf8(_) => CloseCode::NotUtf8,
            WsError::Protocol(_) => CloseCode::Protocol,
            _ => return Flow::Over,
        };
        wire.outbox().stop();
        let frame = self.close_frame(code, reason(error));
        let _ = self.codec().close(wire, Some(frame));
        Flow::Ending
    }

    fn close_frame(&self, code: CloseCode, reason: String) -> CloseFrame {
        let reason = cut(reason);
        CloseFrame {
            code: self.session.close_number(code).into(),
            reason: reason.into(),
        }
    }

    fn close_if_asked(&mut self, outbox: &Outbox, flow: Flow) -> Flow {
        let Some((code, reason)) = outbox.take_close() else {
            return flow;
        };
        let wire = &mut Wire::new(&[], false, outbox);
        let frame = self.close_frame(code, reason);
        match self.codec().close(wire, Some(frame)) {
            Ok(()) => Flow::Closing,
            Err(_) => Flow::Over,
        }
    }
}

/// Longest reason of a close: a control frame has 125 bytes, and the code takes two.
const REASON_BYTES_MAX: usize = 123;

/// What a client is told that broke the protocol.
pub(super) fn reason(error: &WsError) -> String {
    cut(error.to_string())
}

/// The codec sends no close at all that is longer.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a function gives.
    fn size_of_output<A, B, C, D, E, T>(_: impl FnOnce(A, B, C, D, E) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // Ten thousand of them live at a time. With what the runtime adds, and rounded up to 128 bytes as it does, 384.
        let bytes = size_of_output(serve_tcp);
        assert!(bytes <= 280, "{bytes} bytes for the task");
    }
}
