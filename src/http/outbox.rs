//! The way out to one socket: straight into it while it takes everything, through a queue of bounded bytes once it
//! does not. The queue costs nothing until it is needed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::hub::{Connection, Frames, Written};
use crate::limits::Place;
use crate::protocol::CloseCode;

/// How many bytes of answers may wait behind a full queue of events. Whoever asks for more of them does not read.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A connection as the hub sees it. Thousands are idle: what these need not have is in `Waiting`.
pub(super) struct Outbox {
    /// Where to write without waiting; other streams have the queue only.
    tcp: Option<TcpStream>,
    /// Its place among the connections: free when the socket is closed.
    _place: Option<Arc<Place>>,
    state: Mutex<State>,
    bytes_max: usize,
    /// The client said something, or took what waited.
    heard: AtomicBool,
    /// The task that serves it.
    task: AtomicWaker,
}

/// What there is to do for a connection.
pub(super) enum Work {
    /// The client may have said something.
    Read,
    /// Something waits, and the socket may take more.
    Write,
    /// It is to be closed.
    Close,
}

#[derive(Default)]
struct State {
    /// None: nothing does.
    waiting: Option<Box<Waiting>>,
    /// Nothing of the hub's goes out any more.
    closing: bool,
}

/// What waits for the socket, or for the task. The queue is empty where only the close waits.
#[derive(Default)]
struct Waiting {
    /// What the socket did not take, in order. The first may be sent in part.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// How many bytes of the connection's own frames were queued since the queue was empty.
    own_bytes: usize,
    /// By how much a batch was larger than may wait, which was taken all the same. Until the queue is empty.
    oversize: usize,
    close: Option<(CloseCode, String)>,
    /// There may be room again. Whoever waits for that keeps it, as the rest goes when nothing waits any more.
    taken: Arc<Notify>,
}

impl Outbox {
    pub fn new(tcp: Option<TcpStream>, place: Option<Arc<Place>>, bytes_max: usize) -> Self {
        Self {
            tcp,
            _place: place,
            state: Mutex::default(),
            bytes_max,
            heard: AtomicBool::new(false),
            task: AtomicWaker::new(),
        }
    }

    /// The stream, of connections that have one.
    pub fn tcp(&self) -> &TcpStream {
        self.tcp
            .as_ref()
            .expect("only connections over TCP ask for it")
    }

    /// Waits until there is something to do for a connection over TCP. For its one task: it remembers who asked last.
    pub fn poll_work(&self, context: &mut Context<'_>) -> Poll<io::Result<Work>> {
        self.task.register(context.waker());
        let (is_to_close, has_queue) = {
            let state = self.lock();
            (state.is_to_close(), state.has_queue())
        };
        if is_to_close {
            return Poll::Ready(Ok(Work::Close));
        }
        if has_queue && let Poll::Ready(writable) = self.tcp().poll_write_ready(context) {
            return Poll::Ready(writable.map(|()| Work::Write));
        }
        let readable = ready!(self.tcp().poll_read_ready(context));
        Poll::Ready(readable.map(|()| Work::Read))
    }

    /// Waits until it is to be closed or, where that is asked too, something waits. For its one task, as above.
    pub async fn asked(&self, for_queue: bool) {
        poll_fn(|context| {
            self.task.register(context.waker());
            let state = self.lock();
            if state.is_to_close() || for_queue && state.has_queue() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether something waits for the socket.
    pub fn has_queue(&self) -> bool {
        self.lock().has_queue()
    }

    /// The close that was asked for, once.
    pub fn take_close(&self) -> Option<(CloseCode, String)> {
        let mut state = self.lock();
        let close = state.waiting.as_mut()?.close.take();
        state.tidy();
        close
    }

    /// No more of the hub's frames: the peer has said goodbye, or is about to be told. What waits is dropped, as the
    /// goodbye would have to wait behind it.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.closing = true;
        if let Some(waiting) = &mut state.waiting {
            waiting.close = None;
            waiting.drop_queue();
            waiting.taken.notify_one();
        }
        state.tidy();
    }

    /// The client has said something.
    pub fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether the client has pinged for longer than it may without reading the answers.
    pub fn is_flooded(&self) -> bool {
        let state = self.lock();
        let waiting = state.waiting.as_ref();
        !state.closing && waiting.is_some_and(|waiting| waiting.own_bytes > self.bytes_max)
    }

    /// Sends frames of the connection's own: answers to pings, and the closing handshake. They go out however full the
    /// queue is; whoever reads the pings sees to it that they are few.
    pub fn write_control(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let sent = self.try_write(&state, bytes)?;
        if let Some(waiting) = self.queue_rest(&mut state, Frames::Own(bytes), sent) {
            waiting.own_bytes += bytes.len() - sent;
        }
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it. A stream that is not TCP is written to by its own task.
    pub fn flush(&self) -> io::Result<()> {
        let Some(tcp) = &self.tcp else { return Ok(()) };
        let mut state = self.lock();
        while let Some(first) = state.front() {
            match tcp.try_write(first) {
                Ok(sent) => {
                    state.sent(sent);
                    self.heard();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts something into the queue, before anything else is.
    pub fn push(&self, frames: &Bytes) {
        let mut state = self.lock();
        self.queue_rest(&mut state, Frames::Shared(frames), 0);
    }

    /// The first of what waits, for a stream that is written to by its own task. `sent` takes it off.
    pub fn front(&self) -> Option<Bytes> {
        self.lock().front().cloned()
    }

    /// Takes so many bytes off the first of what waits.
    pub fn sent(&self, bytes: usize) {
        self.lock().sent(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the number of bytes that the socket took now.
    fn try_write(&self, state: &State, bytes: &[u8]) -> io::Result<usize> {
        match &self.tcp {
            Some(tcp) if !state.has_queue() => match tcp.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                result => result,
            },
            _ => Ok(0),
        }
    }

    /// Gives what waits, where there was a rest.
    fn queue_rest<'a>(
        &self,
        state: &'a mut State,
        frames: Frames<'_>,
        sent: usize,
    ) -> Option<&'a mut Waiting> {
        let rest = frames.as_slice().len() - sent;
        if rest == 0 {
            return None;
        }
        let waiting = state.waiting.get_or_insert_default();
        waiting.queue.push_back(frames.keep(sent));
        waiting.queued_bytes += rest;
        self.task.wake();
        Some(waiting)
    }
}

impl State {
    fn is_to_close(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.close.is_some())
    }

    fn has_queue(&self) -> bool {
        self.front().is_some()
    }

    fn front(&self) -> Option<&Bytes> {
        self.waiting.as_ref()?.queue.front()
    }

    fn queued_bytes(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |waiting| waiting.queued_bytes)
    }

    /// A single batch may be larger than the limit, and is taken when nothing waits before it.
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        !self.has_queue() || self.queued_bytes() + bytes <= bytes_max
    }

    fn sent(&mut self, bytes: usize) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        waiting.queued_bytes -= bytes;
        waiting.taken.notify_one();
        if let Some(first) = waiting.queue.front_mut() {
            // Slicing keeps the frame's memory, which others share anyway.
            let rest = first.slice(bytes..);
            if rest.is_empty() {
                waiting.queue.pop_front();
            } else {
                *first = rest;
            }
        }
        self.tidy();
    }

    /// The queue was needed once; most never need it.
    fn tidy(&mut self) {
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.queue.is_empty())
            && let Some(close) = waiting.close
        {
            self.waiting.get_or_insert_default().close = Some(close);
        }
    }
}

impl Waiting {
    /// Keeps the first only: it has frames that may be cut in the middle already, and has to go out whole.
    fn drop_queue(&mut self) {
        self.queue.truncate(1);
        self.queued_bytes = self.queue.front().map_or(0, Bytes::len);
    }
}

impl Outbox {
    /// So many bytes of answers may wait behind what waits anyway.
    fn write_with(&self, frames: Frames<'_>, answers: usize) -> Written {
        let mut state = self.lock();
        if state.closing {
            return Written::Gone;
        }
        let bytes = frames.as_slice().len();
        if bytes == 0 {
            // A frame that clients of a preset are not told.
            return Written::Sent;
        }
        let is_first = !state.has_queue();
        // Whoever asks something while it reads a large batch is no flood.
        let oversize = match &state.waiting {
            Some(waiting) if answers > 0 => waiting.oversize,
            _ => 0,
        };
        if !state.has_room(bytes, self.bytes_max + oversize + answers) {
            return Written::Full;
        }
        let Ok(sent) = self.try_write(&state, frames.as_slice()) else {
            // The reader finds out why.
            return Written::Gone;
        };
        let Some(waiting) = self.queue_rest(&mut state, frames, sent) else {
            return Written::Sent;
        };
        if is_first {
            waiting.oversize = (bytes - sent).saturating_sub(self.bytes_max);
        }
        Written::Queued
    }
}

impl Connection for Outbox {
    fn write(&self, frames: Frames<'_>) -> Written {
        self.write_with(frames, 0)
    }

    fn reply(&self, frame: &Bytes) -> Written {
        self.write_with(Frames::Shared(frame), REPLY_BYTES_MAX)
    }

    fn queue_bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn room(&self, bytes: usize) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            loop {
                let taken = {
                    let state = self.lock();
                    if state.closing {
                        return false;
                    }
                    match &state.waiting {
                        Some(waiting) if !state.has_room(bytes, self.bytes_max) => {
                            Arc::clone(&waiting.taken)
                        }
                        _ => return true,
                    }
                };
                taken.notified().await;
            }
        })
    }

    fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    fn has_waiting(&self) -> bool {
        self.has_queue()
    }

    fn queued_bytes(&self) -> usize {
        self.lock().queued_bytes()
    }

    fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        state.closing = true;
        let waiting = state.waiting.get_or_insert_default();
        waiting.close = Some((code, reason.to_owned()));
        if code == CloseCode::TryAgainLater {
            waiting.drop_queue();
        }
        waiting.taken.notify_one();
        drop(state);
        self.task.wake();
    }
}
