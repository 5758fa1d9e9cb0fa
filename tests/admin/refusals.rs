//! Who is not let in: web pages, names that are not this machine's, forms, and whoever has no token.

use reqwest::{Method, StatusCode};
use rowcast::Server;
use rowcast::config::{AdminListen, Config};

use crate::support::process::Process;
use crate::support::{Database, temp_dir};
use crate::{Answer, Running, post, request};

const TOKEN: &str = "0123456789abcdef-secret";

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_are_refused() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let order = r#"{"user": "ann"}"#;
    for (name, value) in [
        ("origin", "http://127.0.0.1:8080"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "rebound.example"),
        ("host", "rebound.example:3002"),
        ("host", "127.0.0.1.rebound.example"),
        ("host", "localhost.rebound.example"),
        ("host", "[::1].rebound.example"),
        ("host", "127.0.0.1@rebound.example"),
        ("host", "[::1]@rebound.example"),
    ] {
        // What a browser could send by itself, and what it could read.
        for request in [
            request(Method::GET, server.admin, "/metrics"),
            request(Method::GET, server.admin, "/api/v1/ws/stats"),
            post(server.admin, "/api/v1/revoke", order),
        ] {
            let answer = Answer::to(request.header(name, value)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
            assert!(answer.json()["message"].is_string(), "{answer:?}");
        }
    }
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:7",
        "[::1]:3002",
        "[::1]",
    ] {
        let request = request(Method::GET, server.admin, "/healthz").header("host", host);
        assert_eq!(Answer::to(request).await.status, StatusCode::OK, "{host}");
    }
    nothing_was_ordered(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_json_and_of_their_shape() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let form = request(Method::POST, server.admin, "/api/v1/disconnect")
            .header("content-type", kind)
            .body(r#"{"user": "ann"}"#);
        let answer = Answer::to(form).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let long = format!(r#"{{"user": "{}"}}"#, "x".repeat(2001));
    let huge = format!(r#"{{"message": "{}"}}"#, "x".repeat(64 * 1024));
    for (path, body, status, word) in [
        ("disconnect", "", 400, "EOF"),
        ("disconnect", "{}", 400, "user"),
        ("disconnect", r#"{"user": ""}"#, 400, "bytes"),
        ("disconnect", r#"{"user": "a\u0000b"}"#, 400, "NUL"),
        ("disconnect", r#"{"user": 7}"#, 400, "string"),
        ("disconnect", r#"{"user": "ann", "why": ""}"#, 400, "why"),
        ("disconnect", &long, 400, "2000 bytes"),
        ("revoke", "{}", 400, "either"),
        ("revoke", r#"{"user": "ann", "jti": "t"}"#, 400, "either"),
        ("revoke", r#"{"user": "ann", "for": "soon"}"#, 400, "24h"),
        ("revoke", r#"{"user": "ann", "for": "0s"}"#, 400, "1s"),
        (
            "revoke",
            r#"{"user": "ann", "for": "9000000d"}"#,
            400,
            "3650d",
        ),
        ("broadcast", r#"{"channel": "tasks"}"#, 400, "message"),
        (
            "broadcast",
            r#"{"channel": "a b", "message": 1}"#,
            400,
            "channel",
        ),
        (
            "broadcast",
            r#"{"channel": "tasks:*", "message": 1}"#,
            400,
            "channel",
        ),
        ("broadcast", &huge, 413, "65536 bytes"),
    ] {
        let answer = server.post(&format!("/api/v1/{path}"), body).await;
        let start = &body[..body.len().min(60)];
        assert_eq!(answer.status.as_u16(), status, "{path} {start}: {answer:?}");
        let message = answer.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(message.contains(word), "{path} {start}: {message}");
    }
    for (method, path, status) in [
        (Method::GET, "/", 404),
        (Method::GET, "/ws", 404),
        (Method::GET, "/api/v1/revoke", 405),
        (Method::DELETE, "/metrics", 405),
    ] {
        let answer = Answer::to(request(method, server.admin, path)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(
            answer.json()["message"]
                .as_str()
                .is_some_and(|text| text.contains("/metrics"))
        );
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
    nothing_was_ordered(&database).await;
}

async fn nothing_was_ordered(database: &Database) {
    let count = "SELECT count(*) FROM rowcast_commands";
    assert_eq!(database.connect().await.numbers(count).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_its_bearers_are_let_in() {
    let database = Database::sqlite().await;
    let server = Running::start_with(&database, |config| {
        config.admin.token = Some(TOKEN.parse().expect("long enough"));
        assert!(!format!("{config:?}").contains(TOKEN), "it is not shown");
    })
    .await;
    let shorter = &TOKEN[..TOKEN.len() - 1];
    for given in [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {shorter}")),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {}", TOKEN.to_uppercase())),
        Some(format!("Basic {TOKEN}")),
        Some(TOKEN.to_owned()),
    ] {
        for request in [
            request(Method::GET, server.admin, "/metrics"),
            request(Method::GET, server.admin, "/readyz"),
            request(Method::GET, server.admin, "/nothing"),
            post(server.admin, "/api/v1/revoke", r#"{"user": "ann"}"#),
        ] {
            let request = match &given {
                Some(given) => request.header("authorization", given),
                None => request,
            };
            let answer = Answer::to(request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{given:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert!(!answer.text.contains(TOKEN));
        }
    }
    let bearer = |request: reqwest::RequestBuilder| request.bearer_auth(TOKEN);
    // A token is worth more than a name.
    let metrics = request(Method::GET, server.admin, "/metrics").header("host", "rowcast.example");
    assert_eq!(Answer::to(bearer(metrics)).await.status, StatusCode::OK);
    let order = post(server.admin, "/api/v1/revoke", r#"{"user": "ann"}"#);
    assert_eq!(Answer::to(bearer(order)).await.status, StatusCode::ACCEPTED);
    // But no web page has it.
    let page = request(Method::GET, server.admin, "/metrics").header("origin", "https://x.example");
    assert_eq!(Answer::to(bearer(page)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(server.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_it_listens_on_this_machine_only() {
    let database = Database::sqlite().await;
    let mut config = Config::new(database.config());
    config.listen.set_port(0);
    config.admin.listen = AdminListen::At("0.0.0.0:0".parse().expect("an address"));
    let refused = Server::start(&config).await.err().expect("it is refused");
    assert!(refused.is_config());
    let refused = refused.to_string();
    for word in [
        "--admin-listen 0.0.0.0:0",
        "--admin-token-file",
        "openssl rand",
    ] {
        assert!(refused.contains(word), "{refused}");
    }
    assert!(!database.file().exists(), "the database was not touched");
    config.admin.token = Some(TOKEN.parse().expect("long enough"));
    Server::start(&config).await.expect("now it may");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_are_checked_and_secrets_are_not_shown() {
    let database = Database::sqlite().await;
    let folder = temp_dir();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.display().to_string()
    };
    let (good, short) = (
        file("good", &format!("{TOKEN}\n")),
        file("short", "hunter2\n"),
    );
    for (flags, words) in [
        (&["--admin-listen", "here"][..], &["127.0.0.1:9090"][..]),
        (
            &["--admin-listen", "0.0.0.0:0"],
            &["--admin-token-file", "openssl rand"],
        ),
        (&["--admin-token", "hunter2"], &["at least 16 bytes"]),
        (
            &["--admin-token-file", &short],
            &["short", "at least 16 bytes"],
        ),
        (
            &["--admin-token-file", "/nowhere"],
            &["/nowhere", "cannot be read"],
        ),
        (
            &["--admin-token", TOKEN, "--admin-token-file", &good],
            &["cannot be used with"],
        ),
    ] {
        let output = Process::command(&database.url)
            .args(flags)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{flags:?}: {said}"
        );
    }
    let server = Process::start(
        &database.url,
        &["--admin-listen", "0.0.0.0:0", "--admin-token-file", &good],
    );
    let address = server
        .admin
        .replace("http://0.0.0.0", "127.0.0.1")
        .parse()
        .expect("an address");
    let metrics = request(Method::GET, address, "/metrics");
    assert_eq!(Answer::to(metrics).await.status, StatusCode::UNAUTHORIZED);
    let metrics = request(Method::GET, address, "/metrics").bearer_auth(TOKEN);
    assert_eq!(Answer::to(metrics).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_at_the_next_port_or_a_free_one_or_off() {
    use std::net::TcpListener;

    let database = Database::sqlite().await;
    let (port, next) = loop {
        let port = crate::support::process::free_port();
        if let Ok(next) = TcpListener::bind(("127.0.0.1", port + 1)) {
            break (port, next);
        }
    };
    let other = Process::start_on(port, &database.url, &[]);
    assert_ne!(
        other.admin,
        format!("http://127.0.0.1:{}", port + 1),
        "it was taken"
    );
    assert!(
        other.admin.starts_with("http://127.0.0.1:"),
        "{}",
        other.admin
    );
    drop(other);
    // Given explicitly it is there or nowhere.
    let address = format!("127.0.0.1:{}", port + 1);
    let output = Process::command(&database.url)
        .args(["--admin-listen", &address])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("--admin-listen"),
        "{said}"
    );
    drop(next);
    let beside = Process::start_on(port, &database.url, &[]);
    assert_eq!(beside.admin, format!("http://{address}"));
    drop(beside);
    let off = Process::start_on(port, &database.url, &["--admin-listen", "off"]);
    assert_eq!(off.admin, "off");
}
