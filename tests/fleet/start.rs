//! Servers that are started in the same moment, and what they hold of Postgres.

use std::thread;

use futures_util::future::join_all;

use crate::moves::{address, poll};
use crate::support::process::Process;
use crate::support::{Database, until};

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_on_an_empty_database_all_serve() {
    let database = Database::postgres().await;
    let servers: Vec<_> = tokio::task::block_in_place(|| {
        let starting: Vec<_> = (0..4)
            .map(|_| {
                let url = database.url.clone();
                thread::spawn(move || Process::start(&url, &[]))
            })
            .collect();
        starting
            .into_iter()
            .map(|starting| starting.join().expect("it is ready"))
            .collect()
    });
    let mut backend = database.connect().await;
    let epochs = "SELECT count(*) FROM rowcast_epochs";
    assert_eq!(backend.numbers(epochs).await, [1], "one feed");
    // What a server holds while nothing happens: it polls, follows commands, and listens.
    let connections = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'rowcast'";
    let expected = 3 * servers.len() as i64;
    until("all to be connected, and no more", async || {
        (backend.numbers(connections).await == [expected]).then_some(())
    })
    .await;
}

/// A database has a hundred connections, and a fleet may have sixteen servers.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_lets_go_of_connections_that_it_needed_once() {
    let database = Database::postgres().await;
    let server = Process::start(&database.url, &["--max-recent-bytes", "0"]);
    let mut backend = database.connect().await;
    backend
        .run("INSERT INTO events (channel, type, payload) SELECT 'tasks', 't', to_jsonb(n) FROM generate_series(1, 5000) AS n")
        .await;
    let connections = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'rowcast'";
    // Clients come back, and read the table.
    let address = address(&server);
    let coming = tokio::spawn(async move {
        loop {
            join_all((0..20).map(|_| poll(address, "earliest"))).await;
        }
    });
    until("more connections than a quiet server has", async || {
        (backend.numbers(connections).await[0] > 3).then_some(())
    })
    .await;
    coming.abort();
    until("it to have let go of them", async || {
        (backend.numbers(connections).await == [3]).then_some(())
    })
    .await;
}
