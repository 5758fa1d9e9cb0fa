//! A server that is killed between a request and its answer: the request is sent again, and its event is there once.

use std::time::Duration;

use reqwest::Method;

use crate::support::process::Process;
use crate::support::{Database, until};
use crate::{Answer, event, request, rows};

on_both! {
    a_killed_server_leaves_one_row_or_none
}

async fn a_killed_server_leaves_one_row_or_none(database: Database) {
    let flags = ["--admin-listen", "off"];
    let mut seen = 0;
    for round in 0..6 {
        let mut server = Process::start(&database.url, &flags);
        let send = |server: &Process| {
            let url = server
                .url
                .replace("ws://", "http://")
                .replace("/ws", "/events");
            let request = request(Method::POST, &url).header("content-type", "application/json");
            let request = request.header("Idempotency-Key", format!("round {round}"));
            request.body(event("tasks", round).to_string())
        };
        let sending = tokio::spawn(Answer::try_to(send(&server)));
        if round % 2 == 0 {
            // Its answer may be on the way.
            until("the row", async || {
                (rows(&database).await > round).then_some(())
            })
            .await;
            seen += 1;
        } else {
            // Anywhere: before it was read, within the transaction, after it.
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
        }
        server.kill();
        let _ = sending.await.expect("it does not panic");
        let server = Process::start(&database.url, &flags);
        let answer = Answer::to(send(&server)).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        if round % 2 == 0 {
            assert_eq!(answer.status, 200, "it was there: {answer:?}");
        }
        assert_eq!(rows(&database).await, round + 1, "{answer:?}");
    }
    assert_eq!(seen, 3);
}
