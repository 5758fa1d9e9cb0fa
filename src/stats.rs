//! Plain counters of what happens, and their snapshot; histograms of how long things take. Everything that is skipped,
//! dropped or given up is counted here. How they are exported is not decided here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde::Serialize;
use tokio::time::Instant;

/// Upper ends of the buckets of times: from half a millisecond, doubling, to a minute.
const TIME_BUCKETS: (f64, f64, u16) = (0.0005, 2.0, 18);

/// Upper ends of the buckets of numbers of events: from 1, by fours, to a quarter of a million.
const EVENT_BUCKETS: (f64, f64, u16) = (1.0, 4.0, 10);

/// A number that only its owner's threads write and anybody may read. Relaxed: no other memory depends on it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How often something has happened: it only grows.
    Counter,
    /// How much there is now.
    Gauge,
}

/// One number, as it is exported.
pub(crate) struct Figure {
    pub name: &'static str,
    pub kind: Kind,
    /// What it counts: its doc comment.
    pub help: String,
    pub value: u64,
}

/// How long things take, and how large they are. Observed once a batch or a look, never once a delivery.
#[derive(Debug)]
pub(crate) struct Histograms {
    /// From when the oldest event of a batch was created until a shard had written the batch, in seconds.
    pub delivery_lag: Histogram,
    /// From a question for the present position to its answer, in seconds.
    pub poll: Histogram,
    /// Events that were read at one go.
    pub window: Histogram,
}

impl Default for Histograms {
    fn default() -> Self {
        let buckets = |(start, factor, length)| exponential_buckets(start, factor, length);
        Self {
            delivery_lag: Histogram::new(buckets(TIME_BUCKETS)),
            poll: Histogram::new(buckets(TIME_BUCKETS)),
            window: Histogram::new(buckets(EVENT_BUCKETS)),
        }
    }
}

/// How late batches were written, in all: of two readings, the mean of what lies between. A histogram cannot be read back.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    batches: AtomicU64,
    micros: AtomicU64,
}

impl Lag {
    fn add(&self, lag: Duration) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        let micros = lag.as_micros() as u64;
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Batches that were written, and the sum of how late they were.
    pub fn sum(&self) -> (u64, Duration) {
        let batches = self.batches.load(Ordering::Relaxed);
        let micros = self.micros.load(Ordering::Relaxed);
        (batches, Duration::from_micros(micros))
    }
}

/// When something went well last.
#[derive(Debug)]
pub(crate) struct Pulse {
    start: Instant,
    /// Milliseconds after the start, and one more; 0 before the first.
    beat: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// It went well now.
    pub fn beat(&self) {
        let since = self.start.elapsed().as_millis() as u64;
        self.beat.store(since + 1, Ordering::Relaxed);
    }

    /// Whether it ever did.
    #[cfg(feature = "redis")]
    pub fn has_beaten(&self) -> bool {
        self.beat.load(Ordering::Relaxed) != 0
    }

    /// How long ago that was. What never went well counts from the start.
    pub fn age(&self) -> Duration {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed).saturating_sub(1));
        self.start.elapsed().saturating_sub(beat)
    }
}

/// A number is a counter, unless it says that it is a `gauge`. All of them are exported, by their names and docs.
macro_rules! counters {
    (@kind) => { Kind::Counter };
    (@kind gauge) => { Kind::Gauge };
    ($($(#[doc = $doc:literal])+ $name:ident $(: $kind:ident)?,)+) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: Counter,)+
            pub histograms: Histograms,
            pub lag: Lag,
            /// The table was looked at, or read on.
            pub looked: Pulse,
        }

        /// What has happened since the start, and what is there now.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// A shard has written a batch, so long after its oldest event was created.
            pub fn delivered_after(&self, lag: Duration) {
                self.histograms.delivery_lag.observe(lag.as_secs_f64());
                self.lag.add(lag);
            }

            pub fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ }
            }

            /// All numbers, to be exported.
            pub fn figures(&self) -> Vec<Figure> {
                vec![$(Figure {
                    name: stringify!($name),
                    kind: counters!(@kind $($kind)?),
                    help: [$($doc.trim(),)+].join(" "),
                    value: self.$name.get(),
                },)+]
            }
        }
    };
}

counters! {
    /// Looks at the table.
    polls,
    /// Looks that failed, each followed by a wait.
    poll_errors,
    /// Times a writer said that there is something to read.
    wakes,
    /// Events read and handed to listeners.
    events,
    /// Rows skipped because they were no events.
    bad_rows,
    /// Times the database was replaced or lost its history, and clients were told to refetch.
    resets,
    /// Listeners registered now.
    listeners: gauge,
    /// Times a listener was too slow for its queue and went on from the table.
    listeners_lagged,
    /// Panics of listeners that were caught.
    listener_panics,
    /// Connections open now.
    connections: gauge,
    /// Subscriptions of all connections now.
    subscriptions: gauge,
    /// Frames of events given to connections.
    deliveries,
    /// Writes a socket did not take at once, so that they were queued.
    writes_queued,
    /// Times a client was behind, as it had been away or read slowly, and was sent what it had missed.
    catch_ups,
    /// Events turned into frames, once for each shape in which somebody receives them.
    events_encoded,
    /// Events compressed, once for all WebSockets that they reach compressed. See `--compression`.
    events_compressed,
    /// Bytes that the frames of these events had before.
    bytes_before_compression,
    /// Bytes that the frames of these events have.
    bytes_after_compression,
    /// Clients that are catching up now.
    catching_up: gauge,
    /// Times a client read so slowly that it was sent on from memory or the table.
    slow_connections,
    /// Connections closed because the client asked on and on and did not read the answers.
    flooding_connections_closed,
    /// Messages that are no rows and that a slow client missed.
    ephemeral_dropped,
    /// Batches of events that clients caught up with from memory.
    recent_reads,
    /// Readings of the table for those who were further behind.
    table_reads,
    /// Clients told to refetch, as what they had missed could not be told.
    client_resets,
    /// Frames of clients that were answered with an error.
    client_errors,
    /// Subscriptions that a token did not grant.
    subscriptions_denied,
    /// Connections and requests without a token that is accepted.
    auth_failures,
    /// Connections closed because their token had expired.
    tokens_expired,
    /// Connections closed because they did not answer pings.
    heartbeats_missed,
    /// Messages of clients beyond the limit of messages a minute.
    messages_limited,
    /// Events deleted because they were older than `--retain`.
    events_pruned,
    /// Requests refused because pages of their origin may not use the server.
    origins_refused,
    /// Requests refused because they called a server for this machine by another name.
    hosts_refused,
    /// Requests refused because they contradicted themselves.
    malformed_requests_refused,
    /// Connections refused because all of `--max-connections` were taken.
    server_limit_refused,
    /// Connections refused because all of `--max-connections-per-ip` were taken.
    ip_limit_refused,
    /// Connections refused because all of `--max-connections-per-user` were taken.
    user_limit_refused,
    /// Failed authentications beyond `--max-auth-failures`.
    auth_failures_limited,
    /// Events that were published over HTTP, and inserted.
    events_published,
    /// Messages that are no rows and that were published over HTTP.
    broadcasts_published,
    /// Requests to publish beyond `--max-publishes-per-minute`.
    publishes_limited,
    /// Requests to publish that the database did not carry out.
    publish_errors,
    /// Connections cut off because too many others waited for a request, too.
    waiting_connections_cut,
    /// Handshakes of TLS that failed or took too long.
    tls_handshakes_failed,
    /// Orders of administrators that this server has carried out: revocations, disconnections, broadcasts.
    commands,
    /// Times the orders of administrators could not be read.
    command_errors,
    /// Whether this server's relay leads: 1 or 0. See `--relay`.
    relay_leading: gauge,
    /// Events that its relay has appended to the stream.
    relay_events,
    /// Entries that its relay has appended: batches of events, and those without that tell that it lives.
    relay_entries,
    /// Times its relay could not reach the stream.
    relay_errors,
    /// Members of all channels with presence now, on any server of the database. See `--presence`.
    presence_members: gauge,
    /// Times it could not be written or read who is on which channel.
    presence_errors,
}
