//! The connections that listen: one for events and commands, and one for presence where that is kept. Polling goes on beside
//! them, so nothing is lost with them.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, Stream, StreamExt as _, unfold};
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::sync::Notify;

/// The channels of `NOTIFY`. They are constants of migrations 0002 and 0008, too.
const EVENTS: &str = "rowcast";
const COMMANDS: &str = "rowcast_commands";

/// The longest wait between two attempts to listen. Polling goes on meanwhile, so there is no hurry.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Hears that there are events, and that there are commands.
pub(super) struct Ear {
    options: PgConnectOptions,
    /// Commands were heard of. Postgres wakes every connection that listens for every notification, whatever its channel: a second
    /// one for commands would cost all servers as much as the first.
    commands: Arc<Notify>,
}

impl Ear {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            commands: Arc::default(),
        }
    }

    /// Wake-ups for events. The connection is open while this is polled, and what it says of commands is passed on.
    pub(super) fn events(&self) -> BoxStream<'static, ()> {
        let commands = Arc::clone(&self.commands);
        heard_on(self.options.clone(), &[EVENTS, COMMANDS])
            .filter_map(move |heard| {
                if heard.commands {
                    commands.notify_one();
                }
                ready(heard.events.then_some(()))
            })
            .boxed()
    }

    /// Wake-ups for commands. They come while those for events are polled.
    pub(super) fn commands(&self) -> BoxStream<'static, ()> {
        unfold(Arc::clone(&self.commands), async |heard| {
            heard.notified().await;
            Some(((), heard))
        })
        .boxed()
    }
}

/// One for each notification on these channels, on a connection of its own.
pub(super) fn wakes_of(
    options: PgConnectOptions,
    channels: &'static [&'static str],
) -> BoxStream<'static, ()> {
    heard_on(options, channels).map(|_| ()).boxed()
}

/// What is heard on these channels, on a connection that is open while this is polled.
fn heard_on(
    options: PgConnectOptions,
    channels: &'static [&'static str],
) -> impl Stream<Item = Heard> + Send {
    unfold(
        (options, None, Duration::ZERO),
        async move |(options, mut listener, mut retry)| {
            loop {
                match listen(&options, channels, &mut listener).await {
                    Ok(heard) => return Some((heard, (options, listener, Duration::ZERO))),
                    Err(error) => {
                        tracing::debug!(%error, "not listening for wake-ups; polling goes on");
                        listener = None;
                        retry = (retry * 2).clamp(Duration::from_secs(1), RETRY_MAX);
                        tokio::time::sleep(retry).await;
                    }
                }
            }
        },
    )
}

/// What there may be.
#[derive(Default)]
struct Heard {
    events: bool,
    commands: bool,
}

impl Heard {
    const ANYTHING: Self = Self {
        events: true,
        commands: true,
    };

    fn note(&mut self, notification: &PgNotification) {
        match notification.channel() {
            COMMANDS => self.commands = true,
            _ => self.events = true,
        }
    }
}

/// Waits for the next notification, connecting first when there is no listener. Having connected counts as one of each, also
/// where the listener does so by itself: what was sent before is lost.
async fn listen(
    options: &PgConnectOptions,
    channels: &[&str],
    listener: &mut Option<PgListener>,
) -> Result<Heard, sqlx::Error> {
    if let Some(listener) = listener {
        let Some(notification) = listener.try_recv().await? else {
            return Ok(Heard::ANYTHING);
        };
        let mut heard = Heard::default();
        heard.note(&notification);
        // One look answers all that have come in.
        while let Some(notification) = listener.next_buffered() {
            heard.note(&notification);
        }
        Ok(heard)
    } else {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options.clone());
        let mut fresh = PgListener::connect_with(&pool).await?;
        fresh.listen_all(channels.iter().copied()).await?;
        *listener = Some(fresh);
        Ok(Heard::ANYTHING)
    }
}
