//! What may happen, and how often.

use std::ops::Range;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use super::scene::Scene;
use super::support::proxy::{Cut, Door, Weather};

/// What happens in an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Nothing,
    CutClients(Cut),
    CutDatabase(Cut),
    CutWriters(Cut),
    KillServer,
    KillDatabase,
    /// As a host does that has too much to do, or is being moved.
    StopServer,
    StopDatabase,
    /// As a migration does, or a program that has forgotten to commit.
    LockTable,
}

/// What it may happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wherever {
    Everywhere,
    AtTheDatabase,
}

impl Scene {
    /// Has one thing after the other happen, and more than one at once.
    pub async fn rage(&mut self, random: &mut Rng, length: Duration, wherever: Wherever) {
        let start = Instant::now();
        while start.elapsed() < length {
            let clients = if wherever == Wherever::AtTheDatabase {
                Weather::CALM
            } else {
                weather(random, 4)
            };
            let database = if self.has_postgres() {
                weather(random, 10)
            } else {
                Weather::CALM
            };
            let stroke = self.stroke(random, wherever);
            eprintln!(
                "{:6.1} s: {stroke:?}, clients {}, database {}",
                start.elapsed().as_secs_f64(),
                name(clients),
                name(database)
            );
            self.clients.set(clients);
            self.set_database_weather(database);
            wait(random, 0..400).await;
            self.strike(random, stroke).await;
            wait(random, 100..1500).await;
            self.clients.set(Weather::CALM);
            self.set_database_weather(Weather::CALM);
            self.start_server().await;
            wait(random, 100..1200).await;
        }
    }

    /// One of those there are; what is more likely is there more than once.
    fn stroke(&self, random: &mut Rng, wherever: Wherever) -> Stroke {
        let cut = *random.choice(&[Cut::Reset, Cut::Close]).expect("two");
        let mut strokes = vec![Stroke::Nothing, Stroke::LockTable];
        if wherever == Wherever::Everywhere {
            strokes.extend([Stroke::CutClients(cut); 4]);
            strokes.extend([Stroke::KillServer; 4]);
            strokes.extend([Stroke::CutClients(Cut::Vanish), Stroke::StopServer]);
        }
        if self.has_postgres() {
            strokes.extend([Stroke::CutDatabase(cut); 2]);
            strokes.extend([Stroke::CutWriters(cut); 2]);
            strokes.extend([Stroke::KillDatabase; 2]);
            strokes.extend([
                Stroke::CutDatabase(Cut::Vanish),
                Stroke::CutWriters(Cut::Vanish),
                Stroke::StopDatabase,
            ]);
        }
        *random.choice(&strokes).expect("there are some")
    }

    async fn strike(&mut self, random: &mut Rng, stroke: Stroke) {
        match stroke {
            Stroke::Nothing => {}
            Stroke::CutClients(cut) => self.clients.cut(cut),
            Stroke::CutDatabase(cut) => self.cut_database(cut),
            Stroke::CutWriters(cut) => self.cut_writers(cut),
            Stroke::KillServer => {
                self.kill_server();
                wait(random, 0..800).await;
                // Without a database it ends at once; it is started again when that is back.
                if self.database_can_be_reached() {
                    self.start_server().await;
                }
            }
            Stroke::KillDatabase => {
                self.kill_database().await;
                wait(random, 0..1000).await;
                self.restart_database().await;
            }
            Stroke::StopServer => {
                self.stop_server();
                wait(random, 100..3000).await;
                self.resume_server();
            }
            Stroke::LockTable => {
                let length = Duration::from_millis(random.u64(100..4000));
                self.lock_table(length).await;
            }
            Stroke::StopDatabase => {
                self.stop_database().await;
                wait(random, 100..3000).await;
                self.resume_database().await;
            }
        }
    }
}

/// Calm one time of `calm` and more.
fn weather(random: &mut Rng, calm: u8) -> Weather {
    let mut weather = Weather::CALM;
    match random.u8(..6 + calm) {
        0 => weather.delay = Duration::from_millis(random.u64(5..300)),
        1 => weather.chunk = 1,
        2 => weather.bytes_per_second = random.usize(2000..50_000),
        3 => weather.stopped = true,
        4 => weather.door = Door::Refused,
        5 => weather.door = Door::Silent,
        _ => {}
    }
    weather
}

fn name(weather: Weather) -> String {
    match weather {
        Weather::CALM => "calm".into(),
        Weather { stopped: true, .. } => "stopped".into(),
        Weather { chunk: 1, .. } => "byte by byte".into(),
        Weather { delay, .. } if delay > Duration::ZERO => format!("{delay:?} late"),
        Weather {
            bytes_per_second, ..
        } if bytes_per_second != usize::MAX => format!("{bytes_per_second} B/s"),
        Weather { door, .. } => format!("door {door:?}"),
    }
}

/// Waits for some milliseconds: things happen at times that nothing announces.
pub async fn wait(random: &mut Rng, milliseconds: Range<u64>) {
    sleep(Duration::from_millis(random.u64(milliseconds))).await;
}
