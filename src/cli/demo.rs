//! `rowcast demo`: the whole way of a row on a temporary database, with a writer that behaves like a small team.

use std::io::{IsTerminal as _, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::sleep;

use super::client::Wanted;
use super::tail::{Format, Printer, follow};
use super::{banner, signals};
use crate::config::Config;
use crate::error::Error;
use crate::event::{Channels, NewEvent};
use crate::server::Server;
use crate::source::{self, DatabaseConfig, Insert, Migrate};

#[derive(Debug, Clone, Args)]
pub(super) struct DemoArgs {
    /// Where to listen. A free port is taken when this one is not.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:3001",
        env = "ROWCAST_LISTEN"
    )]
    listen: SocketAddr,

    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Error> {
    if !args.listen.ip().is_loopback() {
        return Err(Error::Config(format!(
            "--listen {}: the demo is for this machine only; listen on 127.0.0.1",
            args.listen
        )));
    }
    let folder = tempfile::Builder::new()
        .prefix("rowcast-demo-")
        .tempdir()
        .map_err(|source| Error::Io {
            doing: "create a temporary folder".into(),
            source,
        })?;
    let database = DatabaseConfig::new(&format!(
        "sqlite://{}",
        folder.path().join("demo.db").display()
    ))?;
    let mut config = Config::new(database.clone());
    config.listen = args.listen;
    let server = match Server::start(&config).await {
        Err(Error::Bind { .. }) => {
            config.listen.set_port(0);
            Server::start(&config).await?
        }
        started => started?,
    };
    banner::print(&server, &config);
    let wanted = Wanted {
        url: format!("ws://{}/ws", server.address()),
        channels: vec!["*".to_owned()],
        since: "now".to_owned(),
        token: None,
        name: "rowcast demo",
    };
    let writer = source::open_insert(&database, Migrate::Off).await?;
    let format = if stdout().is_terminal() {
        Format::Lines
    } else {
        Format::Json
    };
    let mut printer = Printer {
        format,
        left: args.count,
    };
    let result = tokio::select! {
        () = server.run(signals::stop("telling clients to reconnect")) => Ok(()),
        result = follow(wanted, &mut printer) => result,
        Err(error) = write(writer.as_ref()) => Err(error),
    };
    drop(folder);
    result
}

/// Inserts a believable stream of events, for ever.
async fn write(database: &dyn Insert) -> Result<(), Error> {
    let people = ["ada", "grace", "linus", "margaret"];
    let titles = [
        "Write the release notes",
        "Fix the login page",
        "Order coffee",
        "Plan the offsite",
        "Review the budget",
    ];
    let texts = [
        "On it.",
        "Looks good to me!",
        "Can somebody check this?",
        "Done, please have a look.",
        "Lunch?",
    ];
    let pick = |from: &[&'static str]| from[fastrand::usize(..from.len())];
    let mut task = 0;
    loop {
        let person = pick(&people);
        let (channel, kind, payload) = match fastrand::u8(..6) {
            0 | 1 => {
                task += 1;
                (
                    "tasks".to_owned(),
                    "task.created",
                    json!({"id": task, "title": pick(&titles), "status": "open", "by": person}),
                )
            }
            2 if task > 0 => {
                let id = fastrand::u32(1..=task);
                (
                    "tasks".to_owned(),
                    "task.updated",
                    json!({"id": id, "status": pick(&["in progress", "in review", "done"]), "by": person}),
                )
            }
            3 => (
                format!("inbox:{}", pick(&people)),
                "notification.created",
                json!({"text": format!("{person} mentioned you"), "by": person}),
            ),
            _ => {
                let room = fastrand::u8(1..=3);
                (
                    format!("messages:{room}"),
                    "message.created",
                    json!({"room": room, "text": pick(&texts), "by": person}),
                )
            }
        };
        let event = NewEvent::new(
            Channels::parse(&channel).map_err(|error| Error::Config(error.to_string()))?,
            kind,
            to_raw_value(&payload).map_err(|error| Error::Config(error.to_string()))?,
        );
        database.insert(&[event]).await?;
        sleep(Duration::from_millis(fastrand::u64(200..1200))).await;
    }
}
