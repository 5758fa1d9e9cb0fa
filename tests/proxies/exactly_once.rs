//! Rows are written all the time, servers restart and die, the proxy is reloaded; every client has each row once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::fleet::Fleet;
use crate::follower::{Follower, Told};
use crate::front::Kind;

/// Some 250 rows a second.
const PACE: Duration = Duration::from_millis(4);

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx() {
    endure(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy() {
    endure(Kind::HaProxy).await;
}

async fn endure(kind: Kind) {
    let mut fleet = Fleet::start(kind, &[]).await;
    let authority = fleet.authority.path("authority.pem");
    let mut follower = Follower::start(kind, fleet.front.address, &authority);
    follower.until("subscribed", Told::is_connected).await;
    let writer = Writer::start(&fleet).await;

    // One after the other, and all have come back before the next.
    for n in [0, 1] {
        fleet.stop_server(n);
        fleet.start_server(n);
        writer.until_heard(&mut follower).await;
    }
    fleet.front.reload().await;
    writer.until_heard(&mut follower).await;
    fleet.kill_server(0);
    writer.until_heard(&mut follower).await;
    fleet.start_server(0);
    // Those that a new worker of the proxy has, and those that an old one had.
    fleet.stop_server(1);
    fleet.start_server(1);
    writer.until_heard(&mut follower).await;

    let written = writer.stop().await;
    let all: Vec<i64> = (1..=written as i64).collect();
    follower
        .until("all of it", |told| told.count >= written)
        .await;
    for told in follower.ask("all") {
        assert_eq!(
            told.numbers.len(),
            written,
            "{}: lost or repeated",
            told.name
        );
        assert_eq!(told.numbers, all, "{}: out of order", told.name);
        assert_eq!(told.resets, 0, "{}", told.name);
        // A poll whose server goes away is passed to the other one: its client may notice nothing.
        let cut = told.connections > 1 || told.name.starts_with("poll");
        assert!(cut, "{} was never cut", told.name);
    }
}

/// Writes rows that are numbered from 1 on, each after the other was committed.
struct Writer {
    written: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    writing: JoinHandle<()>,
}

impl Writer {
    async fn start(fleet: &Fleet) -> Self {
        let (written, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut connection = fleet.writer().await;
        let (noted, over) = (Arc::clone(&written), Arc::clone(&is_over));
        let writing = tokio::spawn(async move {
            let mut pace = interval(PACE);
            for number in 1.. {
                connection.insert(number).await;
                noted.store(number as usize, Ordering::SeqCst);
                if over.load(Ordering::SeqCst) {
                    break;
                }
                pace.tick().await;
            }
        });
        Self {
            written,
            is_over,
            writing,
        }
    }

    /// Waits until everybody has what was written until now, and is connected.
    async fn until_heard(&self, follower: &mut Follower) {
        let written = self.written.load(Ordering::SeqCst);
        let has = |told: &Told| told.count >= written && told.is_connected();
        follower.until("to be heard", has).await;
    }

    /// Gives how many there are.
    async fn stop(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        self.writing.await.expect("it writes");
        self.written.load(Ordering::SeqCst)
    }
}
