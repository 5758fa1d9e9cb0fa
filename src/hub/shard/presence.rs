//! Who of a shard's connections is on which channel, and who of them is told of those that are.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;

use super::super::index::SlotId;
use super::super::{Frames, Written};
use super::{Shard, WRITES_PER_TURN};
use crate::event::ChannelPattern;
use crate::presence::{ChannelNews, News, Presence, Told};
use crate::protocol::{PresenceAnswer, PresenceEvent, Present, ServerFrame, Shape};
use crate::source::Place;

/// The part of the room for what waits that a list of members may take, so that others are left some.
const ROOM_PART: usize = 4;

/// What a shard knows of presence.
pub(super) struct Attendance {
    presence: Presence,
    attendants: BTreeMap<u64, Attendant>,
    /// Who is told of a channel.
    watchers: BTreeMap<Arc<str>, BTreeMap<u64, Seen>>,
    /// Whether any of them has missed something.
    has_missed: bool,
}

/// What a connection has to do with presence.
#[derive(Default)]
struct Attendant {
    /// The channels that its user is on by it.
    places: BTreeSet<Place>,
    /// The channels that it is told of.
    watched: BTreeSet<Arc<str>>,
}

/// The number of the last news that a connection has. None: it did not take some, and needs the whole.
type Seen = Option<u64>;

/// Who is on a channel, or None where that is not kept.
pub(super) type RoomOf<'a> = (&'a str, Option<Arc<Told>>);

/// What is told of channels, in so many bytes.
pub(super) fn answers<'a>(
    rooms: &'a [RoomOf<'a>],
    mut bytes_max: usize,
) -> Vec<PresenceAnswer<'a>> {
    let answer = |(channel, told): &'a RoomOf<'a>| PresenceAnswer {
        channel,
        present: told.as_ref().map(|told| Present::of(told, &mut bytes_max)),
    };
    rooms.iter().map(answer).collect()
}

impl Attendance {
    pub fn new(presence: Presence) -> Self {
        Self {
            presence,
            attendants: BTreeMap::new(),
            watchers: BTreeMap::new(),
            has_missed: false,
        }
    }

    /// A connection is on these channels, and on no others. What it is on no more it is told nothing of either.
    fn set(&mut self, connection: u64, user: Option<&Arc<str>>, channels: &BTreeSet<Arc<str>>) {
        let mut own = self.attendants.remove(&connection).unwrap_or_default();
        for channel in own.watched.extract_if(.., |own| !channels.contains(own)) {
            if let Some(watchers) = self.watchers.get_mut(&channel) {
                watchers.remove(&connection);
                if watchers.is_empty() {
                    self.watchers.remove(&channel);
                }
            }
        }
        let place = |channel: &Arc<str>| {
            Some(Place {
                channel: Arc::clone(channel),
                user: Arc::clone(user?),
            })
        };
        let places: BTreeSet<_> = channels.iter().filter_map(place).collect();
        for place in places.difference(&own.places) {
            self.presence.enter(place);
        }
        for place in own.places.difference(&places) {
            self.presence.leave(place);
        }
        own.places = places;
        if !own.places.is_empty() || !own.watched.is_empty() {
            self.attendants.insert(connection, own);
        }
    }

    /// Tells a connection of a channel from now on. Gives who is there.
    fn watch(&mut self, connection: u64, channel: &str) -> Arc<Told> {
        let channel: Arc<str> = channel.into();
        let (told, number) = self.presence.told(&channel);
        let watchers = self.watchers.entry(Arc::clone(&channel)).or_default();
        watchers.insert(connection, Some(number));
        let own = self.attendants.entry(connection).or_default();
        own.watched.insert(channel);
        told
    }

    /// A connection is gone.
    pub fn remove(&mut self, connection: u64) {
        self.set(connection, None, &BTreeSet::new());
    }

    /// Those who are told of a channel.
    fn watchers(&self, channel: &str) -> Vec<(u64, Seen)> {
        let watchers = self.watchers.get(channel).into_iter().flatten();
        watchers
            .map(|(&connection, &seen)| (connection, seen))
            .collect()
    }

    fn note(&mut self, connection: u64, channel: &str, seen: Seen) {
        self.has_missed |= seen.is_none();
        let watchers = self.watchers.get_mut(channel);
        if let Some(own) = watchers.and_then(|watchers| watchers.get_mut(&connection)) {
            *own = seen;
        }
    }
}

impl Shard {
    /// Most bytes that lists of members take in one frame.
    pub(super) fn presence_bytes_max(&self) -> usize {
        self.options.outbox_bytes_max / ROOM_PART
    }

    /// Finds out which channels a connection is on, after what it subscribes to has changed: those that it asked for by
    /// their names and is granted whole. O(its subscriptions), where there is presence at all.
    pub(super) fn attend(&mut self, slot_id: SlotId) {
        if self.attendance.is_none() {
            return;
        }
        let present = self.patterns_of(slot_id).into_iter().collect();
        let Some(attendance) = &mut self.attendance else {
            return;
        };
        let slot = self.slots.get_mut(slot_id);
        let grants = slot.access.grants();
        let is_on = |pattern: &&ChannelPattern| {
            attendance.presence.covers(pattern.as_str())
                && grants.narrow(pattern) == [(*pattern).clone()]
        };
        let asked = slot.access.all_asked(present);
        let channels = asked.iter().filter(is_on);
        let channels = channels.map(|pattern| pattern.as_str().into()).collect();
        let user = slot.access.identity();
        let user = user.and_then(|identity| identity.user.as_ref());
        attendance.set(slot.connection, user, &channels);
    }

    /// Tells a connection from now on who comes to these channels and who leaves, and gives who is there.
    pub(super) fn watch<'a>(
        &mut self,
        connection: u64,
        channels: &'a [ChannelPattern],
    ) -> Vec<RoomOf<'a>> {
        let mut rooms = Vec::with_capacity(channels.len());
        for channel in channels {
            let name = channel.as_str();
            rooms.push((name, self.watch_one(connection, name)));
        }
        rooms
    }

    fn watch_one(&mut self, connection: u64, channel: &str) -> Option<Arc<Told>> {
        let slot_id = self.slots.find(connection)?;
        let slot = self.slots.get(slot_id)?;
        let attendance = self.attendance.as_mut()?;
        let pattern = ChannelPattern::parse(channel).ok()?;
        let is_granted = slot.access.grants().narrow(&pattern) == [pattern];
        if !is_granted || !attendance.presence.covers(channel) {
            return None;
        }
        Some(attendance.watch(connection, channel))
    }

    /// Tells those who watch. All that is new of a channel is one write for each of them, of the same bytes.
    pub(super) async fn tell_presence(&mut self, news: &News) {
        let mut writes = 0;
        for channel in &news.channels {
            let Some(attendance) = &self.attendance else {
                return;
            };
            let mut shaped = vec![None; self.sources.shapes.len()];
            for (connection, seen) in attendance.watchers(&channel.channel) {
                // What was there when it began to watch, it was told then. Who missed something is told all of it.
                if seen.is_none_or(|seen| seen >= news.number) {
                    continue;
                }
                let frames = |shape: &Shape| {
                    shaped[shape.number()]
                        .get_or_insert_with(|| frames_of(channel, shape))
                        .clone()
                };
                self.tell(connection, &channel.channel, news.number, frames);
                writes += 1;
                if writes % WRITES_PER_TURN == 0 {
                    yield_now().await;
                }
            }
        }
    }

    /// Tells those who have missed something how it is now.
    pub(super) async fn tell_missed(&mut self) {
        let Some(attendance) = &mut self.attendance else {
            return;
        };
        if !mem::take(&mut attendance.has_missed) {
            return;
        }
        let presence = attendance.presence.clone();
        let missed: Vec<_> = attendance
            .watchers
            .iter()
            .flat_map(|(channel, watchers)| {
                let missed = watchers.iter().filter(|(_, seen)| seen.is_none());
                missed.map(|(&connection, _)| (Arc::clone(channel), connection))
            })
            .collect();
        for (n, (channel, connection)) in missed.into_iter().enumerate() {
            let (told, number) = presence.told(&channel);
            let mut bytes_max = self.presence_bytes_max();
            let state = |shape: &Shape| {
                let frame = ServerFrame::Presence {
                    channel: &channel,
                    event: PresenceEvent::State(Present::of(&told, &mut bytes_max)),
                };
                frame.encode(shape)
            };
            self.tell(connection, &channel, number, state);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// Tells a connection something of a channel, after which it has the news up to this number. It takes no room from
    /// its answers: where there is none, it has missed this.
    fn tell(
        &mut self,
        connection: u64,
        channel: &str,
        number: u64,
        frames: impl FnOnce(&Shape) -> Bytes,
    ) {
        let found = self.slots.find(connection);
        let Some(slot) = found.and_then(|id| self.slots.get(id)) else {
            return;
        };
        let written = slot.outlet.write(Frames::Shared(&frames(&slot.shape)));
        if written == Written::Queued {
            self.sources.counters.writes_queued.add(1);
        }
        if let Some(attendance) = &mut self.attendance {
            let seen = (written != Written::Full).then_some(number);
            attendance.note(connection, channel, seen);
        }
    }
}

/// Who came to a channel and who left, one frame each.
fn frames_of(news: &ChannelNews, shape: &Shape) -> Bytes {
    let left = news.left.iter().map(|user| PresenceEvent::Leave { user });
    let joined = news.joined.iter().map(PresenceEvent::Join);
    let mut frames = BytesMut::new();
    for event in left.chain(joined) {
        let channel = &news.channel;
        frames.extend(ServerFrame::Presence { channel, event }.encode(shape));
    }
    frames.freeze()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::future::BoxFuture;
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::super::super::{Connection, HubOptions, Request, bench};
    use super::*;
    use crate::auth::Identity;
    use crate::presence::PresenceOptions;
    use crate::protocol::{CloseCode, Since};
    use crate::source::MemberRow;

    /// A client that takes nothing for a while.
    #[derive(Default)]
    struct Client {
        is_full: AtomicBool,
        heard: Mutex<Vec<Value>>,
    }

    impl Client {
        fn take(&self, bytes: &[u8]) -> Written {
            if self.is_full.load(Ordering::Relaxed) {
                return Written::Full;
            }
            // Frames of fewer than 64 KB.
            let mut rest = bytes;
            while let [_, length, ..] = *rest {
                let (start, length) = match length {
                    126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                    length => (2, usize::from(length)),
                };
                let frame = serde_json::from_slice(&rest[start..start + length]);
                self.heard
                    .lock()
                    .expect("no panic")
                    .push(frame.expect("JSON"));
                rest = &rest[start + length..];
            }
            Written::Sent
        }

        fn heard(&self) -> Vec<Value> {
            let mut heard = self.heard.lock().expect("no panic");
            heard.drain(..).collect()
        }
    }

    impl Connection for Client {
        fn write(&self, frames: Frames<'_>) -> Written {
            self.take(frames.as_slice())
        }

        fn reply(&self, frame: &Bytes) -> Written {
            self.take(frame)
        }

        fn queue_bytes_max(&self) -> usize {
            usize::MAX
        }

        fn room(&self, _: usize) -> BoxFuture<'_, bool> {
            Box::pin(std::future::ready(true))
        }

        fn close(&self, _: CloseCode, _: &str) {
            panic!("nobody is closed for what it did not ask for");
        }
    }

    fn row(user: &str, since: Option<&str>) -> MemberRow {
        MemberRow {
            place: Place {
                channel: "room:1".into(),
                user: user.into(),
            },
            since: since.map(Into::into),
        }
    }

    #[test]
    fn who_takes_no_more_is_told_all_of_it_later_and_nothing_twice() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let presence = Presence::without_tables(PresenceOptions {
            channels: vec![ChannelPattern::everything()],
            ..PresenceOptions::default()
        });
        let (requests, _) = mpsc::channel(1);
        let sources = bench::sources(&runtime, 0);
        let (options, back) = (HubOptions::default(), requests.downgrade());
        let mut shard = Shard::new(sources, options, back, Some(presence.clone()));
        let client = Arc::<Client>::default();
        let learn = |user, since| {
            let news = presence.learn("a", vec![row(user, since)]);
            Arc::new(news.expect("there is some"))
        };
        let known = learn("ann", Some("1"));
        runtime.block_on(async {
            let connection = 1;
            let open = Request::Open {
                connection,
                outlet: Arc::clone(&client) as _,
                shape: shard.sources.shapes.web_socket().clone(),
                identity: Some(Arc::new(Identity::anybody())),
            };
            let subscribe = Request::Subscribe {
                connection,
                id: None,
                channels: vec![ChannelPattern::parse("room:1").expect("a name")],
                since: Since::Now,
                permits: Vec::new(),
                presence: true,
            };
            shard.answer(open).await;
            shard.answer(subscribe).await;
            let first = client.heard()[0]["presence"].take();
            let told = json!({"count": 1, "members": [{"user": "ann", "since": "1"}]});
            assert_eq!(first, json!({"room:1": told}));
            // It was on the way when the client came, who has it.
            shard.answer(Request::Presence(known)).await;
            assert!(client.heard().is_empty());

            client.is_full.store(true, Ordering::Relaxed);
            shard.answer(Request::Presence(learn("ann", None))).await;
            client.is_full.store(false, Ordering::Relaxed);
            // Part of what it is told next, not instead of it.
            shard
                .answer(Request::Presence(learn("ben", Some("2"))))
                .await;
            assert!(client.heard().is_empty());
            shard.tell_missed().await;
            let state = json!({
                "type": "presence", "channel": "room:1", "event": "state",
                "count": 1, "members": [{"user": "ben", "since": "2"}],
            });
            assert_eq!(client.heard(), [state]);
            shard.tell_missed().await;
            assert!(client.heard().is_empty(), "once");
            shard.answer(Request::Presence(learn("ben", None))).await;
            let left =
                json!({"type": "presence", "channel": "room:1", "event": "leave", "user": "ben"});
            assert_eq!(client.heard(), [left]);

            shard.answer(Request::Remove { connection }).await;
            let attendance = shard.attendance.as_ref().expect("it has presence");
            assert!(attendance.attendants.is_empty() && attendance.watchers.is_empty());
        });
    }
}
