//! What administrators order: handed to the database, which has it for all servers; and followed there, by each. Whom it
//! concerns is shut out, closed, or told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::auth::{Identity, Revocation, Revocations};
use crate::broadcaster::Broadcaster;
use crate::error::Error;
use crate::event::{Audience, EventId};
use crate::hub::{Ending, Hub};
use crate::source::{
    Command, Commands, Committed, DatabaseConfig, NewCommand, Order, SUBJECT_BYTES_MAX,
    StreamConfig, open_commands,
};
use crate::stats::Counters;
use crate::tail::{LOOK_TIMEOUT, within};

/// How often the commands are read though nothing tells that there are others: some have expired.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// How long a server that reads a stream waits at start to be told whom to refuse.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks, though there are wake-ups: small talk comes in bursts.
const PAUSE: Duration = Duration::from_millis(5);

/// A look for what is new reads so many ids back: each server has at most one command on its way, and they commit in any order.
/// What commits later still is found by its mark, within the poll interval.
const IDS_UNDER_WAY: i64 = 32;

/// How often those that have expired are deleted, give or take half of it: servers that were started together need not
/// work together.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// First and longest wait after an error; between them it doubles, with full jitter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How long the commands cannot be read before that is said, if the feed can be.
const SAY_AFTER: Duration = Duration::from_secs(10);

/// How long a command counts that is carried out once: a server that has not read it by then leaves it.
const ONCE: Duration = Duration::from_mins(5);

/// The same for what clients have told, which is small talk: there may be much of it, and each reading has all that counts.
const TOLD: Duration = Duration::from_secs(30);

/// Commands carried out after which those that have expired are deleted, whenever that was last.
const FORGET_COMMANDS: u32 = 1000;

/// Gives commands to all servers of the database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    table: Arc<dyn Commands>,
    /// Wakes the follower of this server.
    issued: Arc<Notify>,
}

impl Desk {
    /// The row of an event, if it is there and committed.
    pub async fn find(&self, id: EventId) -> Result<Option<Committed>, Error> {
        within("look for the event", LOOK_TIMEOUT, self.table.find(id)).await
    }

    /// Orders something. A revocation counts for `valid`, after which no token that it concerns should be in use. It is
    /// committed when this returns, and carried out here at once, on other servers as soon as they are woken, or within a poll
    /// interval.
    pub async fn issue(&self, order: Order, valid: Duration) -> Result<i64, Error> {
        if let Order::RevokeUser(subject)
        | Order::RevokeToken(subject)
        | Order::DisconnectUser(subject) = &order
            && !(1..=SUBJECT_BYTES_MAX).contains(&subject.len())
        {
            return Err(Error::Config(format!(
                "issue the command: whom it concerns is named in 1 to {SUBJECT_BYTES_MAX} bytes"
            )));
        }
        let valid = match order {
            Order::RevokeUser(_) | Order::RevokeToken(_) => valid,
            Order::DisconnectUser(_) | Order::Broadcast { .. } => ONCE,
        };
        self.write(order, valid).await
    }

    /// Has those who are connected told something, as a client asks for. Servers that have not heard of it soon leave it.
    pub async fn tell(&self, to: Audience, message: Box<RawValue>) -> Result<i64, Error> {
        self.write(Order::Broadcast { to, message }, TOLD).await
    }

    async fn write(&self, order: Order, valid: Duration) -> Result<i64, Error> {
        let command = NewCommand { order, valid };
        let doing = "issue the command";
        let id = within(doing, LOOK_TIMEOUT, self.table.issue(&command)).await?;
        self.issued.notify_one();
        Ok(id)
    }
}

/// Reads commands and carries them out.
pub(crate) struct Follower {
    table: Arc<dyn Commands>,
    issued: Arc<Notify>,
    revocations: Revocations,
    counters: Arc<Counters>,
    /// As it was before all commands were read last.
    mark: String,
    /// When that was.
    read: Instant,
    /// When the mark was looked at.
    looked: Instant,
    /// The highest id that was read.
    last: i64,
    /// Those that have been carried out: by id and time, as a file may be replaced.
    done: HashSet<(i64, i64)>,
}

impl Follower {
    /// Reads the commands there are. Revocations among them count from now on; what is carried out once is of the past.
    ///
    /// # Errors
    /// When they cannot be read: then nobody can tell who is to be let in.
    pub async fn start(
        stream: Option<&StreamConfig>,
        database: Option<&DatabaseConfig>,
        revocations: Revocations,
        counters: Arc<Counters>,
    ) -> Result<(Self, Desk), Error> {
        let table = open_commands(stream, database)?;
        let issued = Arc::<Notify>::default();
        let mut follower = Self {
            table: Arc::clone(&table),
            issued: Arc::clone(&issued),
            revocations,
            counters,
            mark: String::new(),
            read: Instant::now(),
            looked: Instant::now(),
            last: 0,
            done: HashSet::new(),
        };
        // Whoever relays may have begun just now.
        let deadline = Instant::now() + stream.map_or(Duration::ZERO, |_| START_TIMEOUT);
        while let Err(error) = follower.read().await {
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(RETRY_FIRST).await;
        }
        Ok((follower, Desk { table, issued }))
    }

    /// Follows the table until it is dropped: looks once an interval, and whenever it is woken. Errors are logged and do not end
    /// it; who is shut out meanwhile stays so.
    pub async fn run(
        self,
        broadcaster: Broadcaster,
        hub: Hub,
        interval: Duration,
        mut wakes: BoxStream<'static, ()>,
    ) {
        let issued = Arc::clone(&self.issued);
        // Beside it, so that what a wake-up takes is never left half done.
        let listen = async {
            while wakes.next().await.is_some() {
                issued.notify_one();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = listen => {}
            () = self.follow(broadcaster, hub, interval) => {}
        }
    }

    async fn follow(mut self, broadcaster: Broadcaster, hub: Hub, interval: Duration) {
        let issued = Arc::clone(&self.issued);
        let mut failures = 0_u32;
        let mut failing: Option<Instant> = None;
        let mut said = false;
        let mut forget = Instant::now() + forget_interval();
        let mut carried_out = 0_u32;
        let mut looked = Instant::now();
        loop {
            let wait = match failures.checked_sub(1) {
                None => interval.saturating_sub(self.looked.elapsed()),
                Some(before) => RETRY_FIRST
                    .saturating_mul(1 << before.min(16))
                    .min(RETRY_MAX)
                    .mul_f64(fastrand::f64()),
            };
            // Woken also while it retries: who has just issued a command has reached the database.
            let is_woken = timeout(wait, issued.notified()).await.is_ok();
            sleep_until(looked + PAUSE).await;
            looked = Instant::now();
            let found = if is_woken && failures == 0 && self.looked.elapsed() < interval {
                self.look_ahead().await
            } else {
                self.look().await
            };
            match found {
                Ok(fresh) => {
                    if said {
                        tracing::info!(attempts = failures, "commands can be read again");
                    }
                    (failures, failing, said) = (0, None, false);
                    for command in fresh {
                        carried_out += 1;
                        self.carry_out(command.order, &broadcaster, &hub).await;
                    }
                    if Instant::now() >= forget || carried_out >= FORGET_COMMANDS {
                        self.forget().await;
                        carried_out = 0;
                        forget = Instant::now() + forget_interval();
                    }
                }
                Err(error) => {
                    self.counters.command_errors.add(1);
                    // Of an outage of the database the feed tells.
                    let since = *failing.get_or_insert_with(Instant::now);
                    let is_own = since.elapsed() >= SAY_AFTER && hub.readiness().is_reading();
                    if is_own && !said {
                        said = true;
                        tracing::warn!(
                            "failed to {error}; what administrators order is not heard here for now, and who was revoked \
                             before stays out; trying again until it works"
                        );
                    } else {
                        tracing::debug!("failed to {error}");
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Gives the commands that were not there before.
    async fn look(&mut self) -> Result<Vec<Command>, Error> {
        let doing = "look for commands";
        let mark = within(doing, LOOK_TIMEOUT, self.table.mark()).await?;
        self.looked = Instant::now();
        if mark == self.mark && self.read.elapsed() < READ_INTERVAL {
            return Ok(Vec::new());
        }
        // The mark was taken first: what is committed between the two shows in the next.
        let fresh = self.read().await?;
        self.mark = mark;
        Ok(fresh)
    }

    /// The same, of the newest ones only: it costs the same however many there are.
    async fn look_ahead(&mut self) -> Result<Vec<Command>, Error> {
        let doing = "look for new commands";
        let back = self.last.saturating_sub(IDS_UNDER_WAY);
        let mut newest = within(doing, LOOK_TIMEOUT, self.table.valid_after(back)).await?;
        newest.retain(|command| !self.done.contains(&key(command)));
        if newest.iter().any(|command| revocation(command).is_some()) {
            // Who is shut out is known as a whole.
            return self.read().await;
        }
        self.note(&newest);
        Ok(newest)
    }

    async fn read(&mut self) -> Result<Vec<Command>, Error> {
        let doing = "read the commands";
        let mut valid = within(doing, LOOK_TIMEOUT, self.table.valid()).await?;
        self.read = Instant::now();
        self.revocations
            .replace(valid.iter().filter_map(revocation).collect());
        let done = std::mem::take(&mut self.done);
        self.last = 0;
        self.note(&valid);
        valid.retain(|command| !done.contains(&key(command)));
        Ok(valid)
    }

    /// Notes that these are done.
    fn note(&mut self, commands: &[Command]) {
        self.done.extend(commands.iter().map(key));
        let last = commands.iter().map(|command| command.id).max();
        self.last = self.last.max(last.unwrap_or_default());
    }

    async fn carry_out(&self, order: Order, broadcaster: &Broadcaster, hub: &Hub) {
        self.counters.commands.add(1);
        match order {
            Order::RevokeUser(_) | Order::RevokeToken(_) => {
                let revocations = self.revocations.clone();
                let is_meant = move |identity: &Identity| revocations.is_revoked(identity);
                hub.disconnect(Ending::TokenRevoked, is_meant).await;
                let revocations = self.revocations.clone();
                hub.take_back(move |permit| revocations.is_taken_back(permit))
                    .await;
                tracing::info!("a revocation counts from now on");
            }
            Order::DisconnectUser(user) => {
                tracing::info!(user, "an administrator closes the connections of a user");
                let is_meant =
                    move |identity: &Identity| identity.user.as_deref() == Some(user.as_str());
                hub.disconnect(Ending::Disconnected, is_meant).await;
            }
            Order::Broadcast { to, message } => {
                // It is JSON, so it is sent.
                let _ = broadcaster.send_ephemeral(to, &message).await;
            }
        }
    }

    async fn forget(&self) {
        let doing = "delete expired commands";
        match within(doing, LOOK_TIMEOUT, self.table.forget()).await {
            Ok(deleted) => tracing::debug!(deleted, "expired commands are deleted"),
            // They count for nothing where they are.
            Err(error) => tracing::debug!("failed to {error}"),
        }
    }
}

fn forget_interval() -> Duration {
    FORGET_INTERVAL.mul_f64(0.5 + fastrand::f64())
}

fn key(command: &Command) -> (i64, i64) {
    (command.id, command.created_at_ms)
}

fn revocation(command: &Command) -> Option<Revocation> {
    match &command.order {
        Order::RevokeUser(user) => Some(Revocation::User {
            user: user.as_str().into(),
            // Whole seconds, as in tokens: what was issued in the same one is revoked too.
            at: u64::try_from(command.created_at_ms / 1000).unwrap_or_default(),
        }),
        Order::RevokeToken(id) => Some(Revocation::Token {
            id: id.as_str().into(),
        }),
        Order::DisconnectUser(_) | Order::Broadcast { .. } => None,
    }
}
