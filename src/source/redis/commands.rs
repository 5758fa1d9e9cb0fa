//! Orders of administrators and what clients tell, for servers that read the stream: they hear of them at once, and ask the
//! database nothing. Whoever relays brings those of the database here, and those given here to the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use redis::streams::StreamRangeReply;
use redis::{AsyncTypedCommands as _, Script};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::connection::Redis;
use super::explain::is_denied;
use crate::error::Error;
use crate::event::EventId;
use crate::source::stream::StreamConfig;
use crate::source::{Command, Commands, Committed, NewCommand, Order};

/// How long a list of those that are revoked counts. Whoever relays writes it anew several times in between: where nobody
/// does, nobody can tell whom to refuse.
const LIST_SECONDS: u64 = 60;

/// How long what was told is kept here, for servers that are about to read it.
const TOLD_MS: u64 = 600_000;

/// How long a command of the database counts here that is carried out once: no less than there, or it would be carried out
/// again by whoever goes back to the database.
const ONCE: Duration = Duration::from_mins(5);

/// The stream of commands, and what is heard when there is another one.
pub(super) const TOLD: &str = "told";

/// The longest wait between two attempts to listen.
const LISTEN_RETRY_MAX: Duration = Duration::from_secs(5);

/// Adds a command unless it was added before, and tells those who listen. Time is that of Redis.
const TELL: &str = r"
local told, once = KEYS[1], KEYS[2]
if not redis.call('SET', once, '', 'NX', 'PX', ARGV[1]) then return 0 end
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local created = ARGV[3] ~= '' and ARGV[3] or ms
redis.call('XADD', told, 'MINID', '~', string.format('%.0f', ms - ARGV[1]), '*',
           'i', ARGV[2], 'c', created, 'v', ARGV[4], 'o', ARGV[5])
redis.call('PUBLISH', told, '')
return 1
";

/// Replaces the list of revocations, and tells those who listen where it is another one.
const LIST: &str = r"
local list, told = KEYS[1], KEYS[2]
local was = redis.call('GET', list)
redis.call('SET', list, ARGV[1], 'EX', ARGV[2])
if was ~= ARGV[1] then redis.call('PUBLISH', told, '') end
return 1
";

/// A command as Redis keeps it.
#[derive(Serialize, Deserialize)]
struct Told {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

/// The commands of a feed, in Redis.
pub struct RedisCommands {
    redis: Arc<Redis>,
    /// A stream of commands, and what tells of changes.
    told: String,
    /// All revocations, as JSON.
    list: String,
    tell: Script,
    relist: Script,
    /// Where there is one, it is asked while Redis is away.
    database: Option<Arc<dyn Commands>>,
    read: Mutex<Read>,
}

/// What was read of the stream of commands.
#[derive(Default)]
struct Read {
    last: String,
    recent: Vec<(Command, Instant)>,
    /// When a command was given, as it was read first: by the clocks of Redis and of the database that is not the same.
    created: HashMap<i64, i64>,
}

impl RedisCommands {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the Redis can be none of ours.
    pub fn new(config: &StreamConfig, database: Option<Arc<dyn Commands>>) -> Result<Self, Error> {
        let redis = Arc::new(Redis::new(config)?);
        Ok(Self {
            told: redis.key(TOLD),
            list: redis.key("revoked"),
            tell: Script::new(TELL),
            relist: Script::new(LIST),
            redis,
            database,
            read: Mutex::default(),
        })
    }

    /// Brings the commands of the database here, and those that were given here to the database. For whoever relays, every
    /// few seconds and when there are others.
    ///
    /// # Errors
    /// When one of the two does not answer. What was brought is not brought again.
    pub(crate) async fn mirror(&self, database: &dyn Commands) -> Result<(), Error> {
        self.take_over(database).await?;
        let valid = database.valid().await?;
        let (revocations, others): (Vec<_>, Vec<_>) = valid
            .iter()
            .partition(|command| is_revocation(&command.order));
        for command in others {
            self.put(
                command.id,
                Some(command.created_at_ms),
                ONCE,
                &command.order,
            )
            .await?;
        }
        let list: Vec<_> = revocations
            .iter()
            .map(|command| (command.id, command.created_at_ms, Told::of(&command.order)))
            .collect();
        let list = serde_json::to_string(&list).expect("texts and numbers are JSON");
        self.redis
            .with("list the revocations", async |connection| {
                let mut call = self.relist.key(&self.list);
                call.key(&self.told).arg(list).arg(LIST_SECONDS);
                call.invoke_async(connection).await
            })
            .await
    }

    /// The last entry of the stream of commands: it changes with each.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn told(&self) -> Result<String, Error> {
        let last: StreamRangeReply = self
            .redis
            .with("look for commands", async |connection| {
                redis::cmd("XREVRANGE")
                    .arg(&self.told)
                    .arg("+")
                    .arg("-")
                    .arg("COUNT")
                    .arg(1)
                    .query_async(connection)
                    .await
            })
            .await?;
        Ok(last
            .ids
            .first()
            .map(|entry| entry.id.clone())
            .unwrap_or_default())
    }

    /// Hints that there may be commands that were not there. Every one of them may get lost.
    pub(crate) fn wakes(&self) -> BoxStream<'static, ()> {
        wakes(Arc::clone(&self.redis), TOLD)
    }

    /// Writes those into the database that were given where there is none.
    async fn take_over(&self, database: &dyn Commands) -> Result<(), Error> {
        let taken_over = self.redis.key("told:taken-over");
        let doing = "read the commands";
        let last = self
            .redis
            .with(doing, async |connection| connection.get(&taken_over).await)
            .await?
            .unwrap_or_else(|| "0".into());
        for (at, command, valid) in self.read_after(&last).await? {
            if command.id < 0 {
                let order = command.order.clone();
                let id = database.issue(&NewCommand { order, valid }).await?;
                // So that it does not come back.
                let once = self.redis.key(&format!("told:{id}"));
                self.redis
                    .with(doing, async |connection| {
                        redis::cmd("SET")
                            .arg(once)
                            .arg("")
                            .arg("PX")
                            .arg(TOLD_MS)
                            .exec_async(connection)
                            .await
                    })
                    .await?;
            }
            self.redis
                .with(doing, async |connection| {
                    connection.set(&taken_over, &at).await
                })
                .await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        id: i64,
        created_at_ms: Option<i64>,
        valid: Duration,
        order: &Order,
    ) -> Result<(), Error> {
        let told = serde_json::to_string(&Told::of(order)).expect("texts are JSON");
        let once = self.redis.key(&format!("told:{id}"));
        self.redis
            .with("issue the command", async |connection| {
                let mut call = self.tell.key(&self.told);
                call.key(once)
                    .arg(TOLD_MS)
                    .arg(id)
                    .arg(created_at_ms.map(|ms| ms.to_string()).unwrap_or_default())
                    .arg(u64::try_from(valid.as_millis()).unwrap_or(u64::MAX))
                    .arg(told);
                call.invoke_async(connection).await
            })
            .await
    }

    /// The commands of the stream after an entry, each with its entry and how long it counts. Kinds that this version does not
    /// know are left out.
    async fn read_after(&self, last: &str) -> Result<Vec<(String, Command, Duration)>, Error> {
        let found: StreamRangeReply = self
            .redis
            .with("read the commands", async |connection| {
                redis::cmd("XRANGE")
                    .arg(&self.told)
                    .arg(format!("({last}"))
                    .arg("+")
                    .query_async(connection)
                    .await
            })
            .await?;
        let command = |entry: &redis::streams::StreamId| {
            let told: Told = serde_json::from_str(&entry.get::<String>("o")?).ok()?;
            let command = Command {
                id: entry.get("i")?,
                order: told.order()?,
                created_at_ms: entry.get("c")?,
            };
            let valid = Duration::from_millis(entry.get("v")?);
            Some((entry.id.clone(), command, valid))
        };
        Ok(found.ids.iter().filter_map(command).collect())
    }

    /// Reads what is new, and gives what changes with it.
    async fn read_on(&self) -> Result<(String, String), Error> {
        let list = self
            .redis
            .with("read the revocations", async |connection| {
                connection.get(&self.list).await
            })
            .await?;
        let Some(list) = list else {
            let why = "nobody has listed who is revoked for a minute: is `rowcast relay` running?";
            return Err(self.redis.failed("read the revocations", why.into()));
        };
        let last = self.read().last.clone();
        let last = if last.is_empty() {
            "0".to_owned()
        } else {
            last
        };
        let fresh = self.read_after(&last).await?;
        let now = Instant::now();
        let mut read = self.read();
        for (at, command, valid) in fresh {
            read.last = at;
            let until = now + valid.min(Duration::from_hours(24 * 365));
            read.recent.push((command, until));
        }
        read.recent.retain(|(_, until)| *until > now);
        Ok((list, read.last.clone()))
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        // Every change under this lock is whole.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that count, by their ids: of the list, and of the stream what is not in it.
    fn all(&self, list: &str) -> Result<Vec<Command>, Error> {
        let listed: Vec<(i64, i64, Told)> = serde_json::from_str(list).map_err(|error| {
            self.redis.failed(
                "read the revocations",
                format!("they are none of ours: {error}"),
            )
        })?;
        let listed = listed.into_iter().filter_map(|(id, created_at_ms, told)| {
            let order = told.order()?;
            Some(Command {
                id,
                order,
                created_at_ms,
            })
        });
        let mut all: Vec<Command> = listed.collect();
        all.extend(
            self.read()
                .recent
                .iter()
                .map(|(command, _)| command.clone()),
        );
        Ok(self.as_read_first(all))
    }

    /// Each once, by ids, with the time that it was read with first.
    fn as_read_first(&self, mut commands: Vec<Command>) -> Vec<Command> {
        commands.sort_by_key(|command| command.id);
        commands.dedup_by_key(|command| command.id);
        let mut read = self.read();
        let known = std::mem::take(&mut read.created);
        for command in &mut commands {
            if let Some(created) = known.get(&command.id) {
                command.created_at_ms = *created;
            }
        }
        read.created = commands
            .iter()
            .map(|command| (command.id, command.created_at_ms))
            .collect();
        commands
    }
}

impl Commands for RedisCommands {
    fn issue<'a>(&'a self, command: &'a NewCommand) -> BoxFuture<'a, Result<i64, Error>> {
        Box::pin(async move {
            let NewCommand { order, valid } = command;
            let Some(database) = &self.database else {
                // None that the database gives.
                let id = -fastrand::i64(1..i64::MAX);
                self.put(id, None, *valid, order).await?;
                return Ok(id);
            };
            let id = database.issue(command).await?;
            if let Err(error) = self.put(id, None, *valid, order).await {
                // Whoever relays brings it here.
                tracing::debug!("failed to {error}");
            }
            Ok(id)
        })
    }

    fn mark(&self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async {
            match (self.read_on().await, &self.database) {
                (Ok((list, last)), _) => Ok(format!("{last} {list}")),
                (Err(_), Some(database)) => database.mark().await,
                (Err(error), None) => Err(error),
            }
        })
    }

    /// All of them, as ids that were given without a database do not ascend; but those of a database as it gives them.
    fn valid_after(&self, id: i64) -> BoxFuture<'_, Result<Vec<Command>, Error>> {
        Box::pin(async move {
            match (self.read_on().await, &self.database) {
                (Ok((list, _)), _) => self.all(&list),
                (Err(_), Some(database)) => Ok(self.as_read_first(database.valid_after(id).await?)),
                (Err(error), None) => Err(error),
            }
        })
    }

    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Committed>, Error>> {
        match &self.database {
            Some(database) => database.find(id),
            None => Box::pin(async {
                Err(Error::NoDatabase {
                    doing: "look for the event",
                })
            }),
        }
    }

    /// Redis forgets by itself, and whoever relays sees to the database.
    fn forget(&self) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

/// Hints that something may have been told on a channel of this feed. Every one of them may get lost.
pub(super) fn wakes(redis: Arc<Redis>, channel: &'static str) -> BoxStream<'static, ()> {
    unfold(
        (redis, None, Duration::ZERO, false),
        async move |(redis, mut listener, mut retry, mut said)| {
            loop {
                let Some(messages) = &mut listener else {
                    match redis.listen(&redis.key(channel)).await {
                        Ok(listening) => {
                            listener = Some(listening.into_on_message());
                            // There may have been some before.
                            return Some(((), (redis, listener, Duration::ZERO, said)));
                        }
                        Err(error) => {
                            // That does not pass by itself.
                            if is_denied(&error) && !std::mem::replace(&mut said, true) {
                                tracing::warn!("failed to {error}; what is told there comes late, with the next look");
                            } else {
                                tracing::debug!(%error, "not listening; polling goes on");
                            }
                            retry = (retry * 2).clamp(Duration::from_millis(500), LISTEN_RETRY_MAX);
                            sleep(retry).await;
                            continue;
                        }
                    }
                };
                match messages.next().await {
                    Some(_) => return Some(((), (redis, listener, Duration::ZERO, said))),
                    None => listener = None,
                }
            }
        },
    )
    .boxed()
}

impl Told {
    fn of(order: &Order) -> Self {
        let columns = order.columns();
        Self {
            kind: columns.kind.to_owned(),
            subject: columns.subject.map(std::borrow::Cow::into_owned),
            payload: columns.payload.map(str::to_owned),
        }
    }

    fn order(self) -> Option<Order> {
        Order::from_columns(&self.kind, self.subject, self.payload)
    }
}

fn is_revocation(order: &Order) -> bool {
    matches!(order, Order::RevokeUser(_) | Order::RevokeToken(_))
}
