//! What is benchmarked: a table of all that costs, how it grows, and what the guard holds to its figures. The work itself
//! is in the `bench.rs` of each module. `benches/micro` measures it in time, `benches/guard` in instructions.
//!
//! It is there only in builds with the feature `bench` and in unit tests, which do each once. It is no part of the API.

use std::cell::RefCell;
use std::rc::Rc;

use crate::hub::bench::Crowd;
use crate::{auth, cursor, http, hub, protocol};

/// Something that costs.
pub struct Bench {
    /// Its name, of letters and `_`.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// What grows, in the plural.
    pub grows: &'static str,
    /// Which numbers of that are measured.
    pub sizes: &'static [usize],
    /// Which of them the guard holds to its figures.
    pub guarded: &'static [usize],
    /// What the cost is divided by, in the singular.
    pub per: &'static str,
    prepare: fn(usize) -> Work,
}

/// Work that can be done again and again.
pub struct Work {
    /// What is measured.
    pub run: Box<dyn FnMut()>,
    /// What has to be done after each time, and is not measured.
    pub settle: Box<dyn FnMut()>,
    /// By how much the cost is divided.
    pub units: u64,
}

impl Bench {
    /// Prepares it for a size. Of the largest this takes seconds and a gigabyte of memory.
    #[must_use]
    pub fn prepare(&self, size: usize) -> Work {
        (self.prepare)(size)
    }
}

impl Work {
    fn new(units: u64, run: impl FnMut() + 'static) -> Self {
        Self {
            run: Box::new(run),
            settle: Box::new(|| ()),
            units,
        }
    }

    /// So short that it is done many times over, and divided by that.
    fn short(units: u64, mut run: impl FnMut() + 'static) -> Self {
        const TIMES: u64 = 100;
        Self::new(units * TIMES, move || (0..TIMES).for_each(|_| run()))
    }
}

/// Subscribers of the bench that has them as a size.
const CLIENTS: usize = 1000;

/// All there is, in the order of an event's way.
pub const ALL: &[Bench] = &[
    Bench {
        name: "encode",
        about: "makes the frames of a batch",
        grows: "events in the batch",
        sizes: &[1, 10, 100, 1000],
        guarded: &[1, 100],
        per: "event",
        prepare: |events| Work::new(events as u64, protocol::bench::encode(events, None)),
    },
    Bench {
        name: "encode_preset",
        about: "the same by the template of a preset",
        grows: "events in the batch",
        sizes: &[1, 10, 100, 1000],
        guarded: &[100],
        per: "event",
        prepare: |events| {
            Work::new(
                events as u64,
                protocol::bench::encode(events, Some("elements")),
            )
        },
    },
    Bench {
        name: "match_nobody",
        about: "100 events that nobody subscribes to, on channels of two parts",
        grows: "subscriptions to other channels",
        sizes: &[10, 1000, 100_000, 1_000_000],
        guarded: &[10, 10_000],
        per: "event",
        prepare: |others| {
            let (_, run) = hub::bench::deliver(&crowd(0, &one_for_all, others), &numbered(100));
            Work::new(100, run)
        },
    },
    Bench {
        name: "fan_out_1",
        about: "1 event on one channel that all subscribe to",
        grows: "subscribers",
        sizes: &[10, 100, 1000, 10_000, 100_000, 1_000_000],
        guarded: &[1000],
        per: "write",
        prepare: |clients| to_all(clients, 1),
    },
    Bench {
        name: "fan_out_10",
        about: "10 events at a time on that channel",
        grows: "subscribers",
        sizes: &[10, 100, 1000, 10_000, 100_000, 1_000_000],
        guarded: &[1000],
        per: "write",
        prepare: |clients| to_all(clients, 10),
    },
    Bench {
        name: "fan_out_100",
        about: "100 events at a time on that channel",
        grows: "subscribers",
        sizes: &[10, 100, 1000, 10_000, 100_000, 1_000_000],
        guarded: &[1000],
        per: "write",
        prepare: |clients| to_all(clients, 100),
    },
    Bench {
        name: "fan_out_others",
        about: "10 events at a time to 1,000 subscribers, among connections with other channels",
        grows: "subscriptions to other channels",
        sizes: &[10, 100, 1000, 10_000, 100_000, 1_000_000],
        guarded: &[10, 10_000],
        per: "write",
        prepare: |others| {
            let crowd = crowd(CLIENTS, &one_for_all, others);
            deliver(&crowd, &vec!["tasks".to_owned(); 10])
        },
    },
    Bench {
        name: "fan_out_sockets",
        about: "the same to 100 subscribers by real sockets; in instructions without the kernel's",
        grows: "subscriptions to other channels",
        sizes: &[10, 1000, 100_000, 1_000_000],
        guarded: &[10],
        per: "write",
        prepare: |others| {
            let mut sockets = http::bench::Sockets::new(0);
            let crowd = Crowd {
                outlets: Some(sockets.outlets()),
                ..crowd(http::bench::SOCKETS, &one_for_all, others)
            };
            let work = deliver(&crowd, &vec!["tasks".to_owned(); 10]);
            // What they were told when they subscribed.
            sockets.drain();
            Work {
                settle: Box::new(move || sockets.drain()),
                ..work
            }
        },
    },
    Bench {
        name: "fan_out_own",
        about: "a batch with an event for each subscriber, each on a channel of its own",
        grows: "subscribers",
        sizes: &[1, 10, 100, 1000],
        guarded: &[1000],
        per: "write",
        prepare: |clients| {
            let crowd = crowd(clients, &|n| vec![format!("messages:{n}")], 0);
            deliver(&crowd, &numbered(clients))
        },
    },
    Bench {
        name: "fan_out_sets",
        about: "100 events on 100 channels, of which each subscriber has 10, no two the same",
        grows: "subscribers",
        sizes: &[10, 100, 1000, 10_000, 100_000],
        guarded: &[1000],
        per: "write",
        prepare: |clients| {
            let crowd = crowd(clients, &set_of_ten, 0);
            deliver(&crowd, &numbered(100))
        },
    },
    Bench {
        name: "fan_out_wide",
        about: "10 events, of which one is on a channel of each of 1,000 subscribers",
        grows: "channels of each subscriber",
        sizes: &[1, 10, 100, 1000],
        guarded: &[1, 100],
        per: "write",
        prepare: |channels| {
            let channels_of = |_| {
                let mut own: Vec<_> = (1..channels).map(|n| format!("rooms:{n}")).collect();
                own.push("messages:3".into());
                own
            };
            deliver(&crowd(CLIENTS, &channels_of, 0), &numbered(10))
        },
    },
    Bench {
        name: "outbox_write",
        about: "a write to a socket that takes it; in instructions without the kernel's",
        grows: "bytes",
        sizes: &[300, 3000, 30_000],
        guarded: &[300],
        per: "write",
        prepare: |bytes| {
            let sockets = Rc::new(RefCell::new(http::bench::Sockets::new(bytes)));
            let written = Rc::clone(&sockets);
            Work {
                run: Box::new(move || written.borrow().write()),
                settle: Box::new(move || sockets.borrow_mut().drain()),
                units: http::bench::SOCKETS as u64,
            }
        },
    },
    Bench {
        name: "read_message",
        about: "reads what a client says to subscribe",
        grows: "channels in the message",
        sizes: &[1, 10, 100, 1000],
        guarded: &[10],
        per: "message",
        prepare: |channels| Work::short(1, protocol::bench::read(channels)),
    },
    Bench {
        name: "come_and_go",
        about: "a connection comes, subscribes to ten channels, and goes",
        grows: "subscriptions of others",
        sizes: &[10, 1000, 100_000, 1_000_000],
        guarded: &[10, 10_000],
        per: "connection",
        prepare: |others| Work::short(1, hub::bench::come_and_go(others)),
    },
    Bench {
        name: "narrow",
        about: "what of a channel that is asked for is granted",
        grows: "grants of the token",
        sizes: &[1, 10, 100, 1000],
        guarded: &[10, 1000],
        per: "channel",
        prepare: |grants| Work::short(3, auth::bench::narrow(grants)),
    },
    Bench {
        name: "cover",
        about: "whether a channel is granted",
        grows: "grants of the token",
        sizes: &[1, 10, 100, 1000],
        guarded: &[10],
        per: "channel",
        prepare: |grants| Work::short(3, auth::bench::cover(grants)),
    },
    Bench {
        name: "admit",
        about: "what of ten channels is permitted by tokens for a channel each",
        grows: "such tokens",
        sizes: &[1, 10, 100, 1000],
        guarded: &[10],
        per: "channel",
        prepare: |permits| Work::short(10, hub::bench::admit(permits)),
    },
    Bench {
        name: "catch_up",
        about: "a client comes back and is sent what it missed from memory, ten events to a batch",
        grows: "events missed",
        sizes: &[10, 100, 1000, 10_000],
        guarded: &[1000],
        per: "event",
        prepare: |missed| Work::new(missed as u64, hub::bench::catch_up(missed, 1)),
    },
    Bench {
        name: "catch_up_sifted",
        about: "the same for one that wants every tenth event; per event looked through",
        grows: "events looked through",
        sizes: &[10, 100, 1000, 10_000],
        guarded: &[1000],
        per: "event",
        prepare: |missed| Work::new(missed as u64, hub::bench::catch_up(missed, 10)),
    },
    Bench {
        name: "cursor_encode",
        about: "a position of Postgres becomes the text that clients get",
        grows: "transactions under way",
        sizes: &[0, 10, 100, 1000],
        guarded: &[0, 10],
        per: "position",
        prepare: |in_flight| Work::short(1, cursor::bench::encode(in_flight)),
    },
    Bench {
        name: "cursor_decode",
        about: "reads such a text",
        grows: "transactions under way",
        sizes: &[0, 10, 100, 1000],
        guarded: &[0, 10],
        per: "position",
        prepare: |in_flight| Work::short(1, cursor::bench::decode(in_flight)),
    },
    Bench {
        name: "cursor_compare",
        about: "whether one position has all that another has",
        grows: "transactions under way",
        sizes: &[0, 10, 100, 1000],
        guarded: &[10],
        per: "comparison",
        prepare: |in_flight| Work::short(1, cursor::bench::compare(in_flight)),
    },
];

fn to_all(clients: usize, events: usize) -> Work {
    let crowd = crowd(clients, &one_for_all, 0);
    deliver(&crowd, &vec!["tasks".to_owned(); events])
}

fn deliver(crowd: &Crowd<'_>, channels: &[String]) -> Work {
    let (writes, run) = hub::bench::deliver(crowd, channels);
    Work::new(writes, run)
}

fn crowd(clients: usize, channels_of: &dyn Fn(usize) -> Vec<String>, others: usize) -> Crowd<'_> {
    Crowd {
        clients,
        channels_of,
        outlets: None,
        others,
    }
}

fn one_for_all(_: usize) -> Vec<String> {
    vec!["tasks".into()]
}

/// Ten of a hundred channels, spread over them, and for each client others.
fn set_of_ten(client: usize) -> Vec<String> {
    let step = 1 + client / 100 % 9;
    let channel = |n: usize| (client + n * step) % 100;
    (0..10)
        .map(|n| format!("messages:{}", channel(n)))
        .collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("messages:{n}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured is done, and counted.
    #[test]
    fn each_bench_runs() {
        for bench in ALL {
            let size = bench.sizes[0];
            let mut work = bench.prepare(size);
            for _ in 0..2 {
                (work.run)();
                (work.settle)();
            }
            assert!(work.units > 0, "{}", bench.name);
            if bench.name.starts_with("fan_out") && bench.grows == "subscribers" {
                assert_eq!(work.units, size as u64, "{}", bench.name);
            }
        }
    }
}
