//! `/readyz` fails whatever the cause is for which events would not come through, and recovers with it.

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::feed::Client;
use crate::support::{Database, until, within};
use crate::{Answer, Running, request};

async fn becomes(server: &Running, status: StatusCode) -> Value {
    until("its readiness to change", async || {
        let answer = server.get("/readyz").await;
        (answer.status == status).then(|| answer.json())
    })
    .await
}

/// On the port of clients, which is not told why.
async fn public(server: &Running) -> (StatusCode, Value) {
    let answer = Answer::to(request(Method::GET, server.address, "/readyz")).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_from_the_start_until_its_end() {
    let database = Database::sqlite().await;
    let mut server = Running::start(&database).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let fine = json!({"ok": true});
    assert_eq!(
        ready.json(),
        json!({"status": "ready", "checks": {"database": fine, "pipeline": fine}})
    );
    assert_eq!(
        public(&server).await,
        (StatusCode::OK, json!({"status": "ready"}))
    );
    for address in [server.address, server.admin] {
        let head = Answer::to(request(Method::HEAD, address, "/readyz")).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    }
    // Many at once.
    let many = (0..200).map(|_| server.get("/readyz"));
    let many = within("all of them", futures_util::future::join_all(many)).await;
    assert!(many.iter().all(|answer| answer.status == StatusCode::OK));

    // Somebody stays, so that the end takes a while.
    let _client = Client::connect(server.address).await;
    server
        .shutdown
        .take()
        .expect("it runs")
        .send(())
        .expect("it runs");
    until("it to say so, or to be gone", async || {
        let asked = request(Method::GET, server.admin, "/readyz").send().await;
        match asked {
            Ok(answer) => (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(()),
            Err(_gone) => Some(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_while_the_file_is_away() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let (file, away) = (database.file(), database.file().with_extension("away"));
    fs::rename(&file, &away).expect("the folder is ours");
    let told = becomes(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(told["status"], "not_ready");
    assert_eq!(told["checks"]["pipeline"], json!({"ok": true}));
    let check = &told["checks"]["database"];
    assert_eq!(check["ok"], false);
    assert!(
        check["message"]
            .as_str()
            .is_some_and(|text| text.contains("events table")),
        "{told}"
    );
    let since = check["since"].as_str().expect("a time");
    let since = humantime::parse_rfc3339(since).expect("a time");
    let ago = since.elapsed().expect("it is past").as_secs();
    assert!((4..60).contains(&ago), "{told}");
    let unready = (
        StatusCode::SERVICE_UNAVAILABLE,
        json!({"status": "not_ready"}),
    );
    assert_eq!(public(&server).await, unready);
    assert_eq!(server.count("rowcast_ready").await, 0);
    assert_eq!(
        server.get("/healthz").await.status,
        StatusCode::OK,
        "the process lives"
    );
    fs::rename(&away, &file).expect("the folder is ours");
    becomes(&server, StatusCode::OK).await;
}

/// It has a position, and yet cannot read: the look at the table is not the whole of it.
#[tokio::test(flavor = "multi_thread")]
async fn it_fails_while_the_table_is_away() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut owner = database.connect().await;
    owner.insert(1).await;
    owner.run("ALTER TABLE events RENAME TO elsewhere").await;
    let told = becomes(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(told["checks"]["database"]["ok"], false, "{told}");
    owner.run("ALTER TABLE elsewhere RENAME TO events").await;
    becomes(&server, StatusCode::OK).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn it_fails_while_postgres_stands_still() {
    let postgres = crate::support::Postgres::start();
    let database = Database::on(&postgres).await;
    let server = Running::start(&database).await;
    postgres.pause();
    let told = becomes(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(told["checks"]["database"]["ok"], false, "{told}");
    postgres.resume();
    becomes(&server, StatusCode::OK).await;
}

/// The present position can be asked for, as that needs no table, and every window takes for ever.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn it_fails_while_somebody_locks_the_table() {
    let database = Database::postgres().await;
    let server = Running::start(&database).await;
    let mut owner = database.connect().await;
    owner.run("BEGIN").await;
    owner
        .run("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .await;
    // Something is committed, so that there is a window to read.
    let mut other = database.connect().await;
    other.run("CREATE TABLE unrelated (id int)").await;
    let told = becomes(&server, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(told["checks"]["database"]["ok"], false, "{told}");
    owner.run("ROLLBACK").await;
    becomes(&server, StatusCode::OK).await;
}
