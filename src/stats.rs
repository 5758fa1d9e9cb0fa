//! Plain counters of what happens, and their snapshot. Everything that is skipped, dropped or given up is counted here.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

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

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: Counter,)+
        }

        /// What has happened since the start, and what is there now.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            pub fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Looks at the table.
    polls,
    /// Looks that failed, each followed by a wait.
    poll_errors,
    /// Events read and handed to listeners.
    events,
    /// Rows skipped because they were no events.
    bad_rows,
    /// Times the database was replaced or lost its history, and clients were told to refetch.
    resets,
    /// Listeners registered now.
    listeners,
    /// Times a listener was too slow for its queue and went on from the table.
    listeners_lagged,
    /// Panics of listeners that were caught.
    listener_panics,
    /// Connections open now.
    connections,
    /// Subscriptions of all connections now.
    subscriptions,
    /// Frames of events given to connections.
    deliveries,
    /// Writes a socket did not take at once, so that they were queued.
    writes_queued,
    /// Times a client was behind, as it had been away or read slowly, and was sent what it had missed.
    catch_ups,
    /// Clients that are catching up now.
    catching_up,
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
    /// Connections cut off because too many others waited for a request, too.
    waiting_connections_cut,
    /// Handshakes of TLS that failed or took too long.
    tls_handshakes_failed,
}
