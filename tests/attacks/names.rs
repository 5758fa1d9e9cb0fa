//! Names that are none: NUL, other scripts, SQL. Each is an ordinary error, and the table stays as it was.

use serde_json::{Value, json};

use crate::support::feed::{Client, Feed, http};
use crate::support::process::Process;
use crate::support::token::{ask_for_tokens, token};
use crate::support::{Connection, Database, temp_dir};

const NAMES: [&str; 12] = [
    "a\0b",
    "\0",
    "tasks\u{202e}",
    "t\u{430}sks",
    "tasks\u{feff}",
    "tasks\u{301}",
    "\u{1f980}",
    "tasks\n",
    "tasks\r\nX-A: b",
    "inbox:ann\u{2215}",
    "ａ",
    "inbox:\u{200b}ann",
];

#[tokio::test]
async fn names_of_other_scripts_and_with_nul_are_refused_and_the_connection_lives() {
    let feed = Feed::start().await;
    let mut client = feed.connect().await;
    client.subscribe(&["tasks"]).await;
    for name in NAMES {
        for kind in ["subscribe", "unsubscribe"] {
            client
                .say(&json!({"type": kind, "id": 1, "channels": [name]}))
                .await;
            let error = client.hear_a("error").await;
            assert_eq!(error["code"], "INVALID_CHANNEL", "{name:?}: {error}");
        }
        let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        for path in [
            // With a wish behind it, as spaces at its ends are not part of a name.
            format!("/events?channels=x{encoded}x"),
            format!("/sse?channels=x{encoded}x"),
            format!("/events?channels=tasks&after={encoded}"),
            format!("/events?channels=tasks&{encoded}=1"),
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = http(feed.address, &request).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert!(body["message"].is_string(), "{body}");
        }
    }
    // Ids of requests and unknown fields may be any text.
    client
        .say(&json!({"type": "ping", "id": "\0\u{202e}", "\0": "\0"}))
        .await;
    assert_eq!(client.hear_a("pong").await["id"], "\0\u{202e}");
    let inserted = feed.insert(&["tasks"]).await;
    assert_eq!(client.hear_events(1).await[0]["event"]["id"], inserted[0]);
}

#[tokio::test]
async fn users_with_strange_ids_get_nothing_by_them() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    for user in [
        "*",
        "bob:*",
        "a b",
        "bob inbox:bob",
        "{sub}",
        "b\u{43e}b",
        "';--",
    ] {
        let mut client = feed.connect().await;
        client
            .say(&json!({"type": "hello", "token": token(json!({"sub": user}))}))
            .await;
        client.hear_a("welcome").await;
        let answer = client.subscribe(&["*", "inbox:bob", "inbox"]).await;
        assert_eq!(answer["channels"], json!([]), "{user:?}");
    }
    for user in ["", "a\0b", "a\u{7}"] {
        let mut client = feed.connect().await;
        client
            .say(&json!({"type": "hello", "token": token(json!({"sub": user}))}))
            .await;
        assert_eq!(
            client.hear_a("error").await["code"],
            "UNAUTHORIZED",
            "{user:?}"
        );
    }
}

const SQL: [&str; 7] = [
    "'; DROP TABLE events; --",
    "\"; DROP TABLE events; --",
    "1 OR 1=1",
    "') OR ('1'='1",
    "$1",
    "%' UNION SELECT 1 --",
    "0); DELETE FROM events; SELECT (1",
];

#[tokio::test]
async fn sql_in_any_field_is_only_text_on_sqlite() {
    sql_in_any_field(Database::sqlite().await).await;
}

#[tokio::test]
async fn sql_in_any_field_is_only_text_on_postgres() {
    sql_in_any_field(Database::postgres().await).await;
}

async fn sql_in_any_field(database: Database) {
    let secrets = temp_dir();
    let file = secrets.path().join("secret");
    std::fs::write(&file, crate::support::token::SECRET).expect("written");
    let server = Process::start(
        &database.url,
        &["--jwt-secret-file", &file.display().to_string()],
    );
    let at = |url: &str| -> std::net::SocketAddr {
        let address = url.split("://").nth(1).expect("a URL").split('/').next();
        address
            .and_then(|text| text.parse().ok())
            .expect("an address")
    };
    let (public, admin) = (at(&server.url), at(&server.admin));
    let mut table = Connection::open(&database.url).await;
    let row = r#"INSERT INTO events (channel, type, payload, actor) VALUES ('tasks', 'task.created', '{"sql": "''; DROP TABLE events; --"}', 'ann'' OR 1=1')"#;
    table.run(row).await;
    let state = "SELECT id || channel || type || coalesce(actor, '') FROM events ORDER BY id";
    let before = table.texts(state).await;

    for sql in SQL {
        let bearer = token(json!({"sub": sql, "jti": sql, "channels": ["*"]}));
        let mut client = Client::connect(public).await;
        client
            .say(&json!({"type": "hello", "id": sql, "token": bearer}))
            .await;
        let welcome = client.hear_a("welcome").await;
        assert_eq!(
            (&welcome["id"], &welcome["userId"]),
            (&json!(sql), &json!(sql))
        );
        for (field, code) in [
            (
                json!({"type": "subscribe", "channels": [sql]}),
                "INVALID_CHANNEL",
            ),
            (
                json!({"type": "unsubscribe", "channels": [sql]}),
                "INVALID_CHANNEL",
            ),
            (
                json!({"type": "subscribe", "channels": ["tasks"], "since": sql}),
                "CURSOR_INVALID",
            ),
            (
                json!({"type": "subscribe", "channels": ["tasks"], "tokens": [sql]}),
                "FORBIDDEN",
            ),
            (json!({"type": sql}), "INVALID_MESSAGE"),
        ] {
            client.say(&field).await;
            assert_eq!(client.hear_a("error").await["code"], code, "{field}");
        }
        let encoded: String = url::form_urlencoded::byte_serialize(sql.as_bytes()).collect();
        let line = format!("Authorization: Bearer {bearer}\r\n");
        for (path, lines, status) in [
            (format!("/events?channels={encoded}"), String::new(), 400),
            (
                format!("/events?channels=tasks&after={encoded}"),
                String::new(),
                400,
            ),
            (
                format!("/events?channels=tasks&limit={encoded}"),
                String::new(),
                400,
            ),
            (
                format!("/events?channels=tasks&wait={encoded}"),
                String::new(),
                400,
            ),
            (
                format!("/events?channels=tasks&after=earliest&{encoded}=1"),
                String::new(),
                400,
            ),
            (
                "/events?channels=tasks&after=earliest".to_owned(),
                format!("If-None-Match: {sql}\r\nLast-Event-ID: {sql}\r\n"),
                200,
            ),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{line}{lines}\r\n"
            );
            let answer = http(public, &request).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
        for (path, body, status) in [
            ("/api/v1/revoke", json!({"jti": sql}), 202),
            ("/api/v1/revoke", json!({"user": sql}), 202),
            ("/api/v1/revoke", json!({"user": "nobody", "for": sql}), 400),
            ("/api/v1/disconnect", json!({"user": sql}), 202),
            (
                "/api/v1/broadcast",
                json!({"channel": sql, "message": {}}),
                400,
            ),
            (
                "/api/v1/broadcast",
                json!({"channel": "tasks", "message": {"type": sql}}),
                202,
            ),
        ] {
            let body = body.to_string();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = http(admin, &request).await;
            let is_done = (200..300).contains(&answer.status);
            assert_eq!(
                is_done,
                status == 202,
                "{path} {body}: {} {}",
                answer.status,
                answer.body
            );
        }
        let request = format!(
            "GET /api/v1/ws/stats?project_id={encoded} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = http(admin, &request).await;
        assert!(answer.status < 500, "{}", answer.body);
    }
    assert_eq!(table.texts(state).await, before, "the table is as it was");
    // And what is in the row is text, too.
    let bearer = token(json!({"sub": "ann", "channels": ["tasks"]}));
    let mut client = Client::connect(public).await;
    client
        .say(&json!({"type": "hello", "token": bearer, "channels": ["tasks"], "since": "earliest"}))
        .await;
    client.hear_a("welcome").await;
    client.hear_a("subscribed").await;
    let events = client.hear_events(1).await;
    assert_eq!(
        events[0]["event"]["payload"]["sql"],
        "'; DROP TABLE events; --"
    );
    assert_eq!(events[0]["event"]["actor"], "ann' OR 1=1");
}
