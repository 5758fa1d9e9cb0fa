//! What the system tells the program, and what it tells the system: signals to stop and to reload, and the words of
//! systemd's `sd_notify`.

use std::future::Future;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::ConfigFile;
use crate::server::Reload;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for Ctrl-C or a polite kill, from now on. A second one ends the program at once, with the exit code of one killed
/// by it. `status` is what it does from then on, for systemd.
pub(super) fn stop(status: &'static str) -> impl Future<Output = ()> {
    let mut stops = Stops::listen();
    async move {
        let signal = stops.next().await;
        notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
        tracing::info!(
            signal = signal.name,
            "stopping; a second signal ends it at once"
        );
        tokio::spawn(async move {
            let signal = stops.next().await;
            tracing::warn!(signal = signal.name, "ended at once");
            process::exit(signal.exit_code);
        });
    }
}

/// Waits for one, from now on, and leaves it to the program what to make of another.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    let mut stops = Stops::listen();
    async move {
        stops.next().await;
    }
}

/// A signal that ends the program.
struct Stop {
    name: &'static str,
    /// What a shell makes of being killed by it: 128 and its number.
    exit_code: i32,
}

const INTERRUPT: Stop = Stop {
    name: "SIGINT",
    exit_code: 130,
};

#[cfg(unix)]
const TERMINATE: Stop = Stop {
    name: "SIGTERM",
    exit_code: 143,
};

/// The signals that end the program.
#[cfg(unix)]
struct Stops {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

#[cfg(unix)]
impl Stops {
    fn listen() -> Self {
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
        }
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            () = next(&mut self.interrupt) => INTERRUPT,
            () = next(&mut self.terminate) => TERMINATE,
        }
    }
}

#[cfg(not(unix))]
struct Stops;

#[cfg(not(unix))]
impl Stops {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) -> Stop {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPT
    }
}

#[cfg(unix)]
fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::warn!(%error, "cannot listen for a signal"))
        .ok()
}

#[cfg(unix)]
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Reads files again at each SIGHUP, which from now on does not end the program. Not the configuration file: what it says
/// holds until the program ends, and whoever changed it is told so.
#[cfg(unix)]
pub(super) fn reload_at_hangup(
    reload: Reload,
    config: Option<Arc<ConfigFile>>,
) -> impl Future<Output = ()> {
    let mut hangup = listen(SignalKind::hangup());
    async move {
        loop {
            next(&mut hangup).await;
            let mut states = vec![NotifyState::Reloading];
            states.extend(NotifyState::monotonic_usec_now().ok());
            notify(&states);
            let changed = config.as_ref().filter(|file| file.has_changed());
            let (read, errors) = reload.reload().await;
            for error in &errors {
                tracing::error!(%error, "cannot reload; what was read last stays");
            }
            match (&read[..], &errors[..]) {
                ([], []) => {
                    tracing::info!("reloaded nothing: no flag names a file that can change");
                }
                ([], _) => {}
                (read, _) => tracing::info!(what = read.join(", "), "reloaded"),
            }
            if let Some(file) = changed {
                let file = file.path().display();
                tracing::warn!(%file, "the configuration file has changed; it is read at start only, so restart");
            }
            notify(&[NotifyState::Ready]);
        }
    }
}

#[cfg(not(unix))]
pub(super) async fn reload_at_hangup(_reload: Reload, _config: Option<Arc<ConfigFile>>) {
    std::future::pending::<()>().await;
}

/// Tells systemd that clients are served.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd, at twice the rate that it wants, that the program lives: while `canary` says so, in time. For ever; at once
/// done where no watchdog is wanted.
pub(super) async fn watchdog(canary: impl AsyncFn() -> bool) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    beat(patience / 2, canary, || notify(&[NotifyState::Watchdog])).await;
}

async fn beat(every: Duration, canary: impl AsyncFn() -> bool, mut alive: impl FnMut()) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        ticks.tick().await;
        let well = within(every, canary()).await;
        if well {
            alive();
        } else if was_well {
            tracing::error!("the watchdog is not told that all is well: a check of the feed fails");
        }
        was_well = well;
    }
}

/// Whether it says yes in time.
async fn within(patience: Duration, asked: impl Future<Output = bool>) -> bool {
    timeout(patience, asked).await.unwrap_or(false)
}

/// Without systemd nothing.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_told_while_the_canary_sings() {
        let (asked, told) = (Cell::new(0), Cell::new(0));
        let canary = async || {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 | 2 | 5 => true,
                3 => false,
                // It hangs.
                _ => std::future::pending().await,
            }
        };
        let beating = beat(Duration::from_secs(5), canary, || told.set(told.get() + 1));
        let _ = timeout(Duration::from_secs(23), beating).await;
        assert_eq!((asked.get(), told.get()), (5, 3));
    }
}
