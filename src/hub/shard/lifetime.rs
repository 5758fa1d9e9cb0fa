//! How long a connection lives: pings, tokens that expire, and the ways in which the server ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::super::index::SlotId;
use super::super::slots::Pulse;
use super::super::{Ending, Written};
use super::{Shard, WRITES_PER_TURN};
use crate::auth::{Identity, now};
use crate::protocol::{CloseCode, ServerFrame};

/// How often a shard looks at its connections; oftener where they are pinged oftener.
const TICK: Duration = Duration::from_secs(1);
const TICK_SHORTEST: Duration = Duration::from_millis(10);

/// Ticks within an interval between pings, at least.
const TICKS_PER_PING: u32 = 4;

/// Pings without an answer after which a connection is taken for dead, at the time of the next.
const UNANSWERED_MAX: u8 = 2;

/// How long a client for which something has waited may take to answer: what it has yet to read, in buffers between, comes
/// first. The system gives up about then itself, if nothing at all is acknowledged.
const PATIENCE: Duration = Duration::from_mins(15);

/// An empty ping (RFC 6455, section 5.5.2).
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// How long before a token expires its client is told, in seconds.
const EXPIRY_WARNING_SECONDS: u64 = 60;

/// Connections are not closed faster than this when all are to go: a server that they come back to accepts that many.
const CLOSE_PACE: Duration = Duration::from_millis(5);

/// The part of the time for a shutdown within which connections are closed; the rest is for their goodbyes.
const CLOSING_PART: f64 = 0.8;

/// Clients told to reconnect do so within this time after they are closed, each at a moment of its own.
const RECONNECT_SPREAD: Duration = Duration::from_secs(2);

/// When the token of a client expires, as clients are told.
pub(super) fn expires_at(identity: &Identity) -> Option<String> {
    let at = Duration::from_secs(identity.expires_at?);
    let at = std::time::UNIX_EPOCH.checked_add(at)?;
    // Formatting fails beyond the year 9999.
    (at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs() < 253_402_300_800)
        .then(|| humantime::format_rfc3339_seconds(at).to_string())
}

/// The time of a shard, in ticks.
pub(super) struct Clock {
    now: u32,
    tick: Duration,
    /// Ticks between pings, if there are pings.
    ping: Option<u32>,
}

impl Clock {
    pub fn new(ping_interval: Option<Duration>) -> Self {
        let shortest = |interval: Duration| (interval / TICKS_PER_PING).clamp(TICK_SHORTEST, TICK);
        let tick = ping_interval.map_or(TICK, shortest);
        Self {
            now: 0,
            tick,
            ping: ping_interval.map(|interval| ticks(interval, tick).max(1)),
        }
    }

    pub fn ticks(&self) -> Interval {
        let mut ticks = interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }

    /// That of a connection which has just been opened.
    pub fn first_pulse(&self, hello_timeout: Duration) -> Pulse {
        let ping = self.ping.unwrap_or(0);
        Pulse {
            // Those that came together are not pinged together.
            next_ping: self.now + ping - fastrand::u32(..=ping / 2),
            hello_until: self.now + ticks(hello_timeout, self.tick).max(1) + 1,
            ..Pulse::default()
        }
    }
}

fn ticks(time: Duration, tick: Duration) -> u32 {
    time.div_duration_f64(tick).ceil() as u32
}

/// Who is to go, and when.
#[derive(Default)]
pub(super) struct Leaving {
    /// In the order of time.
    queue: VecDeque<Departure>,
    /// Whoever comes now is to go at once.
    everybody: Option<Ending>,
}

impl Leaving {
    pub fn everybody(&self) -> Option<Ending> {
        self.everybody
    }

    /// Ends when somebody is to go; never, if nobody is.
    pub async fn next_is_due(&self) {
        match self.queue.front() {
            Some(next) => sleep_until(next.at).await,
            None => std::future::pending().await,
        }
    }
}

struct Departure {
    at: Instant,
    connection: u64,
    ending: Ending,
    /// The position that it was told.
    told: Arc<str>,
}

/// What a connection is due for.
enum Due {
    Nothing,
    /// It did not say who it is.
    NoToken,
    Expired,
    Warning(u64),
    Ping,
    Dead,
}

impl Shard {
    /// Looks at all connections: who is to be pinged, who is dead, whose token ends.
    pub(super) async fn tick(&mut self) {
        self.clock.now += 1;
        let now = now();
        let mut writes = 0;
        for id in 0..self.slots.end() {
            match self.due(id, now) {
                Due::Nothing => continue,
                Due::NoToken => {
                    if let Some(slot) = self.slots.get(id) {
                        self.sources.counters.auth_failures.add(1);
                        slot.outlet
                            .close(CloseCode::Unauthorized, "no token came in time");
                    }
                }
                Due::Expired => {
                    self.sources.counters.tokens_expired.add(1);
                    self.send_away(id, Ending::TokenExpired);
                }
                Due::Warning(seconds) => {
                    let in_ms = seconds * 1000;
                    self.send(id, &ServerFrame::AuthExpiring { in_ms });
                }
                Due::Ping => self.ping(id),
                Due::Dead => {
                    self.sources.counters.heartbeats_missed.add(1);
                    if let Some(slot) = self.slots.get(id) {
                        slot.outlet
                            .close(CloseCode::HeartbeatMissed, "no answer to pings");
                    }
                }
            }
            writes += 1;
            if writes % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
        self.tell_missed().await;
    }

    fn due(&mut self, id: SlotId, now: u64) -> Due {
        let Some(slot) = self.slots.get(id) else {
            return Due::Nothing;
        };
        if slot.pulse.is_leaving {
            return Due::Nothing;
        }
        let Some(identity) = slot.access.identity() else {
            let slot = self.slots.get_mut(id);
            slot.pulse.is_leaving = self.clock.now >= slot.pulse.hello_until;
            return if slot.pulse.is_leaving {
                Due::NoToken
            } else {
                Due::Nothing
            };
        };
        if let Some(expires_at) = identity.expires_at {
            if expires_at <= now {
                return Due::Expired;
            }
            let left = expires_at - now;
            if left <= EXPIRY_WARNING_SECONDS && !slot.pulse.is_warned {
                self.slots.get_mut(id).pulse.is_warned = true;
                return Due::Warning(left);
            }
        }
        self.expire_permits(id, now);
        let slot = self.slots.get_mut(id);
        let Some(ping) = self.clock.ping.filter(|_| slot.shape.is_web_socket()) else {
            return Due::Nothing;
        };
        let pulse = &mut slot.pulse;
        if self.clock.now < pulse.next_ping {
            return Due::Nothing;
        }
        pulse.next_ping = self.clock.now + ping;
        if slot.outlet.take_heard() {
            pulse.unanswered = 0;
        }
        if slot.outlet.has_waiting() {
            pulse.patient_until = self.clock.now + ticks(PATIENCE, self.clock.tick);
            return Due::Nothing;
        }
        if pulse.unanswered >= UNANSWERED_MAX && self.clock.now >= pulse.patient_until {
            pulse.is_leaving = true;
            return Due::Dead;
        }
        pulse.unanswered = pulse.unanswered.saturating_add(1);
        Due::Ping
    }

    fn ping(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else {
            return;
        };
        if slot.pulse.has_greeted {
            // A page cannot see pings.
            let heartbeat = ServerFrame::Heartbeat {
                cursor: self.cursor_of(slot),
            };
            let frames = [&heartbeat.encode(&slot.shape)[..], &PING[..]].concat();
            slot.outlet.reply(&frames.into());
        } else {
            slot.outlet.reply(&PING);
        }
    }

    /// Tells everybody to come back, at a time of its own, and closes them one after the other. Until then each is sent
    /// what comes.
    pub(super) async fn drain(&mut self, grace: Duration, ending: Ending) {
        if ending == Ending::Shutdown {
            self.leaving.everybody = Some(ending);
        }
        let mut all = self.slots.ids();
        fastrand::shuffle(&mut all);
        let spread = (CLOSE_PACE * all.len() as u32).min(grace.mul_f64(CLOSING_PART));
        let start = Instant::now();
        for (n, &id) in all.iter().enumerate() {
            let Some(slot) = self.slots.get(id).filter(|slot| !slot.pulse.is_leaving) else {
                continue;
            };
            let delay = spread.mul_f64(n as f64 / all.len() as f64);
            self.leaving.queue.push_back(Departure {
                at: start + delay,
                connection: slot.connection,
                ending,
                told: Arc::clone(&self.edge),
            });
            let later = delay + RECONNECT_SPREAD.mul_f64(fastrand::f64());
            self.tell_to_leave(id, ending, later);
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
        let queue = self.leaving.queue.make_contiguous();
        queue.sort_by_key(|departure| departure.at);
    }

    /// Closes those whose time has come. The last frame is the position, so that they need nothing again.
    pub(super) async fn send_away_due(&mut self) {
        let mut writes = 0;
        let is_due = |departure: &mut Departure| departure.at <= Instant::now();
        while let Some(departure) = self.leaving.queue.pop_front_if(is_due) {
            let Some(id) = self.slots.find(departure.connection) else {
                continue;
            };
            if let Some(slot) = self.slots.get(id)
                && let Some(cursor) = self.cursor_of(slot)
                && *cursor != *departure.told
            {
                slot.outlet.reply(&slot.shape.cursor(cursor));
            }
            self.close(id, departure.ending);
            writes += 1;
            if writes % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// Ends the connections of all who are meant.
    pub(super) async fn disconnect(
        &mut self,
        is_meant: &(dyn Fn(&Identity) -> bool + Send + Sync),
        ending: Ending,
    ) {
        for (n, id) in self.slots.ids().into_iter().enumerate() {
            let slot = self.slots.get_mut(id);
            if slot
                .access
                .identity()
                .is_some_and(|identity| is_meant(identity))
            {
                self.send_away(id, ending);
            }
            if (n + 1) % WRITES_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// Ends a connection now.
    pub(super) fn send_away(&mut self, id: SlotId, ending: Ending) {
        let later = RECONNECT_SPREAD.mul_f64(fastrand::f64());
        self.tell_to_leave(id, ending, later);
        self.close(id, ending);
    }

    fn tell_to_leave(&self, id: SlotId, ending: Ending, later: Duration) {
        let Some(slot) = self.slots.get(id) else {
            return;
        };
        let reconnect = ending.reconnect();
        let disconnect = ServerFrame::Disconnect {
            code: ending.code(),
            reconnect,
            retry_after_ms: reconnect.then_some(later.as_millis() as u64),
            cursor: self.cursor_of(slot),
        };
        self.send(id, &disconnect);
    }

    fn close(&mut self, id: SlotId, ending: Ending) {
        let slot = self.slots.get_mut(id);
        slot.pulse.is_leaving = true;
        let (code, reason) = ending.close();
        slot.outlet.close(code, reason);
    }

    /// Sends what the client did not ask for. Where there is no room for it, it does without.
    fn send(&self, id: SlotId, frame: &ServerFrame<'_>) {
        if let Some(slot) = self.slots.get(id)
            && slot.outlet.reply(&frame.encode(&slot.shape)) == Written::Queued
        {
            self.sources.counters.writes_queued.add(1);
        }
    }
}
