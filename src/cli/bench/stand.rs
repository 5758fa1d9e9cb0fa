//! A server, its clients, and whoever publishes to it, ready to be measured.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::client::{KEY, Opening};
use super::dialect::Values;
use super::load::Load;
use super::measure::{Meter, own_cpu};
use super::publish::{Published, Publisher};
use super::setup::{GRANT, Shape, Who};
use super::tally::{Faults, Tally};
use super::target::Target;
use crate::error::Error;
use crate::event::{Channel, EventId};
use crate::source::Probe;

/// Handshakes under way at a time, where they are not what is measured.
const AT_ONCE: usize = 64;

/// How long clients may need for their first event, where a server does not say that they are subscribed.
const WARM_UP: Duration = Duration::from_secs(20);

/// One server.
pub(super) struct Stand {
    pub target: Target,
    pub load: Load,
    pub publisher: Option<Arc<Mutex<Publisher>>>,
    pub faults: Faults,
    /// What is expected to have come in all.
    pub expected: u64,
    shape: Shape,
    names: Arc<[String]>,
    who: Arc<Who>,
    patience: Duration,
    /// How many clients have each channel.
    receivers: Vec<u64>,
    probe: Option<(Arc<dyn Probe>, EventId)>,
}

/// What something took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Of the server. None where its process is not known.
    pub cpu: Option<Duration>,
    /// Of the server, user and kernel. None where the kernel does not count them for us.
    pub instructions: Option<u64>,
    /// Of the benchmark.
    pub own: Duration,
    pub time: Duration,
}

/// Clocks at the beginning of something.
pub(super) struct Clocks {
    cpu: Option<Duration>,
    instructions: Option<u64>,
    own: Duration,
    start: Instant,
}

impl Stand {
    /// With nobody connected yet.
    pub(super) fn new(
        target: Target,
        load: Load,
        shape: Shape,
        names: Arc<[String]>,
        who: Arc<Who>,
        patience: Duration,
    ) -> Self {
        Self {
            target,
            load,
            publisher: None,
            faults: Faults::default(),
            expected: 0,
            shape,
            receivers: vec![0; names.len()],
            names,
            who,
            patience,
            probe: None,
        }
    }

    /// Whoever publishes to it, and what finds its rows again where they are to be deleted.
    pub(super) fn with_publisher(
        mut self,
        publisher: Option<Publisher>,
        probe: Option<(Arc<dyn Probe>, EventId)>,
    ) -> Self {
        self.publisher = publisher.map(|publisher| Arc::new(Mutex::new(publisher)));
        self.probe = probe;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.target.dialect.name
    }

    /// Connects all clients. Everything from the next event on has to reach them.
    pub(super) async fn connect(&mut self, progress: impl FnMut(usize)) -> Result<(), Error> {
        let openings = self.prepare(0..self.shape.clients as usize, None).await?;
        self.connect_all(openings, AT_ONCE, progress)
    }

    /// What these clients will say. They come back with a cursor, if there is one, and miss everything from a number on.
    pub(super) async fn prepare(
        &mut self,
        clients: Range<usize>,
        since: Option<(&str, u64)>,
    ) -> Result<Vec<Opening>, Error> {
        let start = match (since, &self.publisher) {
            (Some((_, start)), _) => start,
            (None, Some(publisher)) => publisher.lock().await.next(),
            (None, None) => 0,
        };
        let mut openings = Vec::with_capacity(clients.len());
        for client in clients {
            let wanted = self.wanted(client);
            for channel in &wanted {
                self.receivers[*channel as usize] += 1;
            }
            openings.push(self.opening(client, &wanted, since.map(|since| since.0), start)?);
        }
        Ok(openings)
    }

    /// Connects them, so many at a time, and waits until all are subscribed.
    pub(super) fn connect_all(
        &mut self,
        openings: Vec<Opening>,
        at_once: usize,
        progress: impl FnMut(usize),
    ) -> Result<(), Error> {
        let connected = self.load.connect(openings, at_once, progress);
        connected.map_err(|error| self.about(error))
    }

    /// The token of a client, if it has one.
    pub(super) fn token(&self, client: usize) -> Result<Option<String>, Error> {
        self.who.token(client)
    }

    /// How many channels there are.
    pub(super) fn channels(&self) -> usize {
        self.receivers.len()
    }

    /// Deliveries that one event on each channel makes.
    pub(super) fn subscriptions(&self) -> u64 {
        self.receivers.iter().sum()
    }

    /// Everybody leaves.
    pub(super) fn disconnect(&mut self) {
        self.load.disconnect();
        self.receivers.fill(0);
    }

    /// Channels of a client: the same ones for every server.
    fn wanted(&self, client: usize) -> Vec<u32> {
        let Shape {
            channels,
            channels_per_client,
            ..
        } = self.shape;
        if channels_per_client == 1 {
            return vec![client as u32 % channels];
        }
        let mut chance = fastrand::Rng::with_seed(client as u64);
        chance.choose_multiple(0..channels, channels_per_client as usize)
    }

    fn opening(
        &self,
        client: usize,
        wanted: &[u32],
        since: Option<&str>,
        start: u64,
    ) -> Result<Opening, Error> {
        let dialect = &self.target.dialect;
        let channels: Vec<_> = wanted
            .iter()
            .map(|channel| self.names[*channel as usize].clone())
            .collect();
        let values = Values {
            port: self.target.port,
            channel: channels.first().map_or("", String::as_str),
            channels: &channels,
            client,
            ..Values::default()
        };
        let url = values.fill(&dialect.url);
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(path_start);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut request = format!(
            "GET {slash}{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        );
        let mut push = |name: &str, value: &str| {
            request.push_str(name);
            request.push_str(": ");
            request.push_str(value);
            request.push_str("\r\n");
        };
        if let Some(protocol) = &dialect.subprotocol {
            push("Sec-WebSocket-Protocol", protocol);
        }
        if let Some(token) = self.who.token(client)? {
            push("Authorization", &format!("Bearer {token}"));
        }
        for (name, value) in &dialect.headers {
            push(name, &values.fill(value));
        }
        request.push_str("\r\n");
        let (frames, confirmations) = dialect.opening(values, since);
        Ok(Opening {
            request: request.into_bytes(),
            frames,
            confirmations,
            tally: Tally::new(wanted, self.shape.channels, start),
        })
    }

    /// Whoever publishes.
    pub(super) fn publisher(&self) -> Result<Arc<Mutex<Publisher>>, Error> {
        self.publisher
            .clone()
            .ok_or_else(|| Error::Config(format!("there is no way to publish to {}", self.name())))
    }

    /// Publishes events while clients receive. How many deliveries they make is added to what is expected.
    pub(super) async fn publish(
        &mut self,
        count: usize,
    ) -> Result<JoinHandle<Result<Published, Error>>, Error> {
        let publisher = self.publisher()?;
        let first = publisher.lock().await.next();
        self.expect(first, count);
        Ok(tokio::spawn(async move {
            publisher.lock().await.publish(count).await
        }))
    }

    /// Adds what these events make for all clients.
    pub(super) fn expect(&mut self, first: u64, count: usize) {
        let channels = self.receivers.len();
        let of = |n: usize| self.receivers[(first as usize + n) % channels];
        self.expected += (0..count).map(of).sum::<u64>();
    }

    /// Receives what is expected. Where it does not come, which is false, it is counted as lost.
    pub(super) fn receive(&mut self) -> Result<bool, Error> {
        let complete = self.load.receive(self.expected, self.patience);
        let complete = complete.map_err(|error| self.about(error))?;
        if !complete {
            // What comes later is none of the next round's.
            self.expected = self.load.seen.deliveries;
        }
        Ok(complete)
    }

    /// From now on its clients send messages while they receive.
    pub(super) fn begin_chatter(&mut self, per_second: u32) {
        let frame = self.target.dialect.message_frame();
        self.load.begin_chatter(frame, per_second);
    }

    /// Ends it, and gives how many messages were sent and how many answered.
    pub(super) fn end_chatter(&mut self) -> Result<(u64, u64), Error> {
        let ended = self.load.end_chatter(self.patience);
        ended.map_err(|error| self.about(error))
    }

    /// Closes the books of all that was published so far.
    pub(super) async fn close_books(&mut self) -> Result<(), Error> {
        let end = self.publisher()?.lock().await.next();
        if self.load.is_stopped() {
            // What is under way is not lost.
            return Ok(());
        }
        let faults = self.load.close_books(end);
        self.faults += faults;
        Ok(())
    }

    /// A few events that are not measured. Where a server does not say that clients are subscribed, until all receive.
    pub(super) async fn warm_up(&mut self) -> Result<(), Error> {
        let count = self.names.len();
        if self.target.dialect.subscribed.is_some() {
            let publishing = self.publish(count).await?;
            self.receive()?;
            joined(publishing)
                .await
                .map_err(|error| self.about(error))?;
            return self.close_books().await;
        }
        let end = Instant::now() + WARM_UP;
        loop {
            let start = self.publisher()?.lock().await.next();
            self.load.restart_books(start);
            let publishing = self.publish(count).await?;
            self.load.receive(self.expected, Duration::from_secs(1))?;
            joined(publishing)
                .await
                .map_err(|error| self.about(error))?;
            let next = start + count as u64;
            self.expected = self.load.seen.deliveries;
            if self.load.outstanding(next) == 0 {
                self.load.restart_books(next);
                return Ok(());
            }
            if Instant::now() > end || self.load.is_stopped() {
                return Err(self.about(Error::Io {
                    doing: "warm up".into(),
                    source: std::io::Error::other("not every client received an event"),
                }));
            }
        }
    }

    pub(super) fn clocks(&mut self) -> Clocks {
        let mut meter = self.target.meter.as_mut();
        Clocks {
            cpu: meter.as_mut().map(|meter| {
                meter.look_for_children();
                meter.cpu()
            }),
            instructions: meter.and_then(Meter::instructions),
            own: own_cpu(),
            start: Instant::now(),
        }
    }

    pub(super) fn spent(&mut self, since: &Clocks) -> Spent {
        let time = since.start.elapsed();
        let mut meter = self.target.meter.as_mut();
        let cpu = meter.as_mut().map(|meter| meter.cpu());
        let instructions = meter.and_then(Meter::instructions);
        Spent {
            cpu: cpu
                .zip(since.cpu)
                .map(|(now, then)| now.saturating_sub(then)),
            instructions: instructions
                .zip(since.instructions)
                .map(|(now, then)| now.saturating_sub(then)),
            own: own_cpu().saturating_sub(since.own),
            time,
        }
    }

    /// Lets the server do what is left to do.
    pub(super) fn settle(&mut self) {
        if let Some(meter) = &mut self.target.meter {
            meter.settle();
        }
    }

    pub(super) fn rss_bytes(&self) -> Option<u64> {
        self.target.meter.as_ref().map(Meter::rss_bytes)
    }

    /// Says whose error it is.
    pub(super) fn about(&self, error: Error) -> Error {
        match error {
            Error::Io { doing, source } => Error::Io {
                doing: format!("measure {}: {doing}", self.name()),
                source,
            },
            other => other,
        }
    }

    /// Deletes what was written into a database that is not ours.
    pub(super) async fn clean_up(&mut self) {
        let Some((probe, after)) = self.probe.take() else {
            return;
        };
        for name in &*self.names {
            let Ok(channel) = Channel::parse(name) else {
                continue;
            };
            if let Err(error) = probe.remove(&channel, after).await {
                tracing::warn!(
                    "the rows stay in the table, on channels {GRANT}: failed to {error}"
                );
                return;
            }
        }
    }

    /// Whether every event came once and in order, and everybody stayed.
    pub(super) fn result(&self) -> Result<(), Error> {
        if let Some((why, count)) = self.load.seen.gone.first_key_value() {
            return Err(Error::Io {
                doing: format!("measure {}", self.name()),
                source: std::io::Error::other(format!(
                    "{count} of {} clients were cut off: {why}",
                    self.load.clients()
                )),
            });
        }
        if !self.faults.any() {
            return Ok(());
        }
        Err(Error::Misdelivered {
            server: self.name().to_owned(),
            lost: self.faults.lost,
            repeated: self.faults.repeated,
            out_of_order: self.faults.out_of_order,
            strays: self.faults.strays,
        })
    }
}

/// What a task gave.
pub(super) async fn joined<T>(task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    task.await.unwrap_or_else(|error| {
        Err(Error::Io {
            doing: "publish events".into(),
            source: std::io::Error::other(error),
        })
    })
}
