//! The stream in Redis: appended to by whoever relays, at its end and nowhere else; read by entries. Only this file says
//! what its keys and fields are called.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{AsyncTypedCommands as _, ErrorKind, Script, ServerErrorKind};

use super::commands::wakes;
use super::connection::Redis;
use super::entry::{Entry, EntryId, Joint, Kept, decode, encode};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::source::stream::{StreamConfig, StreamRetain};

/// How long a reading may lie in Redis waiting for something to come.
const BLOCK_MS: usize = 1000;

/// Entries that are under way at once: as many as are certain to be sent in their order.
const APPENDED_TOGETHER: usize = 16;

/// What a Redis says that does not know a script.
const UNKNOWN: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

/// What is heard where the lead of relays gets free.
const LEAD: &str = "lead";

/// Appends an entry if the stream ends where it begins, and says whether it did. Those that are too old are trimmed.
///
/// It writes once: what a script writes with several commands is no whole to a Redis that dies twice. 7.0 cuts off a log that ends
/// in the midst of them, forgets to cut off the first of them, too, and does these at the next start. It may run on any Redis since
/// 7.0: before, a script that writes after it asked for the time had to say so.
const APPEND: &str = r"
local feed = KEYS[1]
local at, joint = '', ''
local last = redis.call('XREVRANGE', feed, '+', '-', 'COUNT', 1)[1]
if last then
  local entry = {}
  for n = 1, #last[2], 2 do entry[last[2][n]] = last[2][n + 1] end
  at, joint = entry.u, entry.j == '' and entry.l or last[1]
end
if at ~= ARGV[1] then return 0 end
local oldest = string.format('%.0f', math.max(0, redis.call('TIME')[1] * 1000 - tonumber(ARGV[2])))
redis.call('XADD', feed, 'MINID', '~', oldest, '*', 'a', at, 'u', ARGV[3], 'j', ARGV[4], 'l', joint, 'e', ARGV[5])
return 1
";

/// A stream.
pub(crate) struct Stream {
    redis: Arc<Redis>,
    feed: String,
    append: Script,
}

/// What came of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The entries are in the stream.
    Done,
    /// It ends elsewhere: somebody else has appended, or it is not what it was. Of several entries the first may have been
    /// appended, none beyond one that was not.
    Moved,
}

impl Stream {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] when the driver cannot use the URL.
    pub fn new(config: &StreamConfig) -> Result<Self, Error> {
        let redis = Arc::new(Redis::new(config)?);
        Ok(Self {
            feed: redis.key("feed"),
            append: Script::new(APPEND),
            redis,
        })
    }

    /// The position after the last entry; none where there is no stream.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn end(&self) -> Result<Option<Cursor>, Error> {
        let last = self.last("ask where the stream ends").await?;
        Ok(last.map(|kept| kept.entry.upto))
    }

    /// Appends entries, at least one, if the stream ends at `end`.
    ///
    /// # Errors
    /// When Redis does not answer, or refuses. They may have been appended all the same, or the first of them.
    pub async fn append(
        &self,
        end: Option<&Cursor>,
        entries: &[Entry],
        retain: &StreamRetain,
    ) -> Result<Appended, Error> {
        let keep_ms = u64::try_from(retain.keep.as_millis()).unwrap_or(u64::MAX);
        let mut at = end.map(Cursor::to_full_text).unwrap_or_default();
        let calls: Vec<_> = entries
            .iter()
            .map(|entry| {
                let upto = entry.upto.to_full_text();
                let mut call = redis::cmd("EVALSHA");
                call.arg(self.append.get_hash()).arg(1).arg(&self.feed);
                call.arg(&at).arg(keep_ms).arg(&upto);
                call.arg(entry.joint.word()).arg(encode(&entry.events));
                at = upto;
                call
            })
            .collect();
        let is_appended: bool = self
            .redis
            .with("append to the stream", async |connection| {
                let mut rest = &calls[..];
                let mut is_taught = false;
                while !rest.is_empty() {
                    // One behind the other, without a wait for the answers: each begins where the one before ends, or is not
                    // appended.
                    let together = rest.iter().take(APPENDED_TOGETHER).map(|call| {
                        let mut connection = connection.clone();
                        async move { call.query_async::<bool>(&mut connection).await }
                    });
                    let answers = join_all(together).await;
                    let done = answers
                        .iter()
                        .take_while(|answer| matches!(answer, Ok(true)));
                    let done = done.count();
                    rest = &rest[done..];
                    match answers.into_iter().nth(done) {
                        None => {}
                        Some(Ok(_)) => return Ok(false),
                        // It is new, or was told to forget. Not by the driver, which would send those that failed for this
                        // again in no order.
                        Some(Err(error)) if error.kind() == UNKNOWN && !is_taught => {
                            self.append.load_async(connection).await?;
                            is_taught = true;
                        }
                        Some(Err(error)) => return Err(error),
                    }
                }
                let _: usize = redis::cmd("XTRIM")
                    .arg(&self.feed)
                    .arg("MAXLEN")
                    .arg("~")
                    .arg(retain.entries_max)
                    .query_async(connection)
                    .await?;
                Ok(true)
            })
            .await?;
        Ok(if is_appended {
            Appended::Done
        } else {
            Appended::Moved
        })
    }

    /// Tells whoever hears [`Stream::leavings`] that nobody writes here any more.
    ///
    /// # Errors
    /// When Redis does not answer, or refuses.
    pub async fn leave(&self) -> Result<(), Error> {
        let doing = "say that the lead is free";
        self.redis
            .with(doing, async |connection| {
                connection.publish(self.redis.key(LEAD), "").await
            })
            .await
            .map(|_heard_by: usize| ())
    }

    /// Hints that whoever wrote here does not any more. Every one of them may get lost.
    pub fn leavings(&self) -> BoxStream<'static, ()> {
        wakes(Arc::clone(&self.redis), LEAD)
    }

    /// The next entries after an id, at least one, or nothing within a second. Needs a connection of its own, which
    /// [`Redis::connect`] gives: others would wait behind it.
    pub(super) async fn next(
        &self,
        connection: &mut MultiplexedConnection,
        after: EntryId,
    ) -> Result<Vec<Kept>, Error> {
        let doing = "read the stream";
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(Self::PAGE).arg("BLOCK").arg(BLOCK_MS);
        read.arg("STREAMS").arg(&self.feed).arg(after.to_string());
        let reply: Option<StreamReadReply> = read
            .query_async(connection)
            .await
            .map_err(|error| self.redis.error(doing, &error))?;
        let ids = reply.into_iter().flat_map(|reply| reply.keys);
        ids.flat_map(|key| key.ids)
            .map(|id| self.kept(&id))
            .collect()
    }

    /// Entries that are read at once: of up to 1 MB each.
    pub(super) const PAGE: usize = 16;

    /// Where it is.
    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// So many entries from one id on, that one included.
    pub(super) async fn from(&self, first: EntryId, entries: usize) -> Result<Vec<Kept>, Error> {
        self.range(&first.to_string(), entries).await
    }

    /// One entry, if it is still there.
    pub(super) async fn get(&self, id: EntryId) -> Result<Option<Kept>, Error> {
        let found = self.range(&id.to_string(), 1).await?;
        Ok(found.into_iter().next().filter(|kept| kept.id == id))
    }

    /// The first entry from a millisecond on.
    pub(super) async fn first_from(&self, ms: u64) -> Result<Option<Kept>, Error> {
        Ok(self.range(&ms.to_string(), 1).await?.into_iter().next())
    }

    /// The last entry.
    pub(super) async fn last(&self, doing: &'static str) -> Result<Option<Kept>, Error> {
        let found: StreamRangeReply = self
            .redis
            .with(doing, async |connection| {
                redis::cmd("XREVRANGE")
                    .arg(&self.feed)
                    .arg("+")
                    .arg("-")
                    .arg("COUNT")
                    .arg(1)
                    .query_async(connection)
                    .await
            })
            .await?;
        found.ids.first().map(|id| self.kept(id)).transpose()
    }

    async fn range(&self, from: &str, count: usize) -> Result<Vec<Kept>, Error> {
        let found: StreamRangeReply = self
            .redis
            .with("read the stream", async |connection| {
                redis::cmd("XRANGE")
                    .arg(&self.feed)
                    .arg(from)
                    .arg("+")
                    .arg("COUNT")
                    .arg(count)
                    .query_async(connection)
                    .await
            })
            .await?;
        found.ids.iter().map(|id| self.kept(id)).collect()
    }

    fn kept(&self, id: &StreamId) -> Result<Kept, Error> {
        let foreign = || {
            Error::Unusable(format!(
                "the entry {} of {} in Redis is none of ours; another program writes there, or another version of rowcast: \
                 give this feed another name with --stream",
                id.id, self.feed
            ))
        };
        let field = |name| id.get::<String>(name);
        let parse = |text: &str| Cursor::from_full_text(text).map_err(|_| foreign());
        let (Some(after), Some(upto), Some(word), Some(joint), Some(events)) =
            (field("a"), field("u"), field("j"), field("l"), field("e"))
        else {
            return Err(foreign());
        };
        let (own, joint_word) = (
            EntryId::parse(&id.id).ok_or_else(foreign)?,
            Joint::parse(&word),
        );
        Ok(Kept {
            id: own,
            joint: match joint_word {
                Joint::Whole => EntryId::parse(&joint).ok_or_else(foreign)?,
                Joint::Left | Joint::Reset => own,
            },
            after: (!after.is_empty()).then(|| parse(&after)).transpose()?,
            bytes: after.len() + upto.len() + events.len(),
            entry: Entry {
                upto: parse(&upto)?,
                events: decode(&events).ok_or_else(foreign)?,
                joint: joint_word,
            },
        })
    }
}
