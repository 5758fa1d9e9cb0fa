//! The herd after a region fails: its clients come back to the servers that are left, all at once. A simulation, as nobody has
//! a million machines; what it takes a server to let a client in is measured (`cargo bench --bench connect`), how clients
//! wait is what `@rowcast/client` does: full jitter, 1 s at first, doubled up to 30 s, 10 s for an attempt.
//! `cargo bench --bench herd -- --help` tells what can be changed; docs/SCALING.md has what comes of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use clap::Parser;

/// What an attempt costs that its client has given up by the time it is looked at, as a part of a good one: the connection is
/// accepted, and found closed.
const WASTED: f64 = 0.3;

#[derive(Parser)]
#[command(bin_name = "cargo bench --bench herd --")]
struct Args {
    /// Clients that were cut off.
    #[arg(long, default_value_t = 1_000_000)]
    clients: u32,

    /// Servers that are left.
    #[arg(long, default_value_t = 20)]
    servers: u32,

    /// Cores of each.
    #[arg(long, default_value_t = 4.0)]
    cores: f64,

    /// What of them the clients take that the servers have already, from 0 to 1.
    #[arg(long, default_value_t = 0.4)]
    busy: f64,

    /// Processor time that a server takes to let a client in, in microseconds: 41 without TLS, 400 with it.
    #[arg(long, default_value_t = 400.0)]
    connect_us: f64,

    /// Seconds until all clients have noticed: 0 where the connections were reset, 40 where they fell silent.
    #[arg(long, default_value_t = 0.0)]
    notice: f64,

    /// The first wait of a client, in seconds, of which it waits a random part. 0: the herd of those who wait for nothing.
    #[arg(long, default_value_t = 1.0)]
    wait: f64,

    /// The longest.
    #[arg(long, default_value_t = 30.0)]
    wait_max: f64,

    /// How long an attempt may take, in seconds.
    #[arg(long, default_value_t = 10.0)]
    patience: f64,

    /// Connections that the system of a server accepts for it while it is busy. Those beyond try again, as TCP does: after 1 s,
    /// 2 s, 4 s.
    #[arg(long, default_value_t = 4096)]
    backlog: usize,

    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Something that happens, in nanoseconds from the failure.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client tries, or its system does once more, for an attempt that began then.
    Attempt { client: u32, since: u64, again: u32 },
    /// A server has done with what it was at.
    Done { server: u32 },
}

#[derive(Default)]
struct Server {
    /// Who waits, and since when.
    queue: VecDeque<(u32, u64)>,
    is_busy: bool,
    /// Whether whom it is busy with has not given up.
    lets_in: bool,
    longest: usize,
}

fn main() {
    let args = Args::parse();
    let second = 1_000_000_000.0;
    let ns = |seconds: f64| (seconds * second) as u64;
    let mut random = fastrand::Rng::with_seed(args.seed);
    let mut events = BinaryHeap::new();
    let mut attempts = vec![0_u8; args.clients as usize];
    let mut servers: Vec<Server> = Vec::new();
    servers.resize_with(args.servers as usize, Server::default);
    // How long one client keeps all cores that are free.
    let takes = args.connect_us / 1e6 / (args.cores * (1.0 - args.busy));
    for client in 0..args.clients {
        let at = ns(random.f64() * args.notice + random.f64() * args.wait);
        events.push(Reverse((at, first_try(client, at))));
    }
    let mut let_in: Vec<u64> = Vec::with_capacity(args.clients as usize);
    let mut given_up = Vec::new();
    let (mut tried, mut wasted) = (0_u64, 0_u64);
    while let Some(Reverse((now, event))) = events.pop() {
        let server = match event {
            Event::Attempt {
                client,
                since,
                again,
            } => {
                tried += u64::from(again == 0);
                // Any server is as good: there is nothing on it that another would not have.
                let server = random.u32(..args.servers);
                let own = &mut servers[server as usize];
                if own.queue.len() >= args.backlog {
                    let next = now + ns(2_f64.powi(again as i32));
                    if next > since + ns(args.patience) {
                        given_up.push((client, since));
                    } else {
                        let again = again + 1;
                        events.push(Reverse((
                            next,
                            Event::Attempt {
                                client,
                                since,
                                again,
                            },
                        )));
                        continue;
                    }
                } else {
                    own.queue.push_back((client, since));
                }
                own.longest = own.longest.max(own.queue.len());
                server
            }
            Event::Done { server } => {
                let own = &mut servers[server as usize];
                own.is_busy = false;
                if own.lets_in {
                    let_in.push(now);
                }
                server
            }
        };
        let own = &mut servers[server as usize];
        if !own.is_busy
            && let Some((client, since)) = own.queue.pop_front()
        {
            let has_given_up = now > since + ns(args.patience);
            let takes = if has_given_up { takes * WASTED } else { takes };
            (own.is_busy, own.lets_in) = (true, !has_given_up);
            events.push(Reverse((now + ns(takes), Event::Done { server })));
            if has_given_up {
                wasted += 1;
                given_up.push((client, since));
            }
        }
        for (client, since) in given_up.drain(..) {
            let attempt = &mut attempts[client as usize];
            *attempt = attempt.saturating_add(1);
            let longest = (args.wait * 2_f64.powi(i32::from(*attempt))).min(args.wait_max);
            // It has been waiting since it gave up.
            let again = (since + ns(args.patience) + ns(random.f64() * longest)).max(now);
            events.push(Reverse((again, first_try(client, again))));
        }
    }
    let at = |part: f64| {
        let place = (part * (let_in.len() - 1) as f64) as usize;
        let_in[place] as f64 / second
    };
    let capacity = f64::from(args.servers) / takes;
    println!(
        "{} clients, {} servers, {capacity:.0} clients a second at most",
        args.clients, args.servers
    );
    println!(
        "back: half after {:.1} s, 99 % after {:.1} s, all after {:.1} s",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!(
        "attempts: {:.2} for each client, {wasted} let in too late; longest queue of a server: {}",
        tried as f64 / f64::from(args.clients),
        servers
            .iter()
            .map(|server| server.longest)
            .max()
            .unwrap_or_default()
    );
}

fn first_try(client: u32, since: u64) -> Event {
    Event::Attempt {
        client,
        since,
        again: 0,
    }
}
