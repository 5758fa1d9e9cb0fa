//! Tokens, keys and passwords in what a server writes: it is told all of them in every way there is, writes as much as it
//! can, and all of it is searched.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::support::Database;
use crate::support::feed::{http, soon, until};
use crate::support::process::Process;
use crate::support::raw::{HANDSHAKE, Heard, Raw, close};
use crate::support::token::{SECRET, now, tells_a_secret, token, token_for};

const PASSWORD: &str = "the-password-of-this-database";
const ADMIN_TOKEN: &str = "the-token-of-the-administrators-of-this-test";

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where a server is, and how to reach it.
struct Door {
    address: SocketAddr,
    authority: Option<Authority>,
}

impl Door {
    async fn open(&self) -> Box<dyn Stream> {
        match &self.authority {
            Some(authority) => Box::new(authority.connect(self.address).await),
            None => Box::new(TcpStream::connect(self.address).await.expect("up")),
        }
    }

    /// The status of the answer to a request.
    async fn get(&self, path: &str, lines: &str) -> u16 {
        let mut stream = self.open().await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a head", stream.read_u8()).await.expect("an answer"));
        }
        // The rest of a stream is not waited for.
        let head = String::from_utf8(head).expect("text");
        head[9..12].parse().expect("a status")
    }

    /// Opens a WebSocket with this, says these, leaves, and gives what was heard.
    async fn speak(&self, path: &str, lines: &str, frames: &[Value]) -> Vec<String> {
        let mut stream = self.open().await;
        let handshake =
            HANDSHAKE
                .replacen("/ws", path, 1)
                .replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1);
        stream
            .write_all(handshake.as_bytes())
            .await
            .expect("written");
        let mut raw = Raw {
            stream,
            bytes_read: 0,
        };
        raw.hear_handshake().await;
        for frame in frames {
            raw.say(frame).await;
        }
        raw.send(&close(1000, b"")).await;
        let mut heard = Vec::new();
        loop {
            match raw.hear().await {
                Heard::Text(text) => heard.push(text),
                Heard::End => return heard,
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn no_token_key_or_password_is_in_what_a_server_writes() {
    for (format, tls) in [("json", false), ("pretty", true)] {
        search(format, tls).await;
    }
}

async fn search(format: &str, tls: bool) {
    let database = Database::postgres().await;
    let url = database
        .url
        .replacen("rowcast@", &format!("rowcast:{PASSWORD}@"), 1);
    assert!(url.contains(PASSWORD), "{url}");
    let authority = Authority::new();
    let files = authority.write();
    let key = std::fs::read_to_string(&files.key).expect("a key");
    let [cert_file, key_file] = [&files.cert, &files.key].map(|path| path.display().to_string());
    let mut command = Process::command(&url);
    command
        .args(["--log", "trace", "--log-format", format])
        .env("ROWCAST_JWT_SECRET", SECRET)
        .env("ROWCAST_ADMIN_TOKEN", ADMIN_TOKEN);
    if tls {
        command.args(["--tls-cert", &cert_file, "--tls-key", &key_file]);
    }
    let mut server = Process::spawn(command).expect("it starts");
    let at = |url: &str| -> SocketAddr {
        let address = url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        address
            .and_then(|text| text.parse().ok())
            .expect("an address")
    };
    let door = Door {
        address: at(&server.url),
        authority: tls.then_some(authority),
    };
    let admin = at(&server.admin);

    let good = token(json!({"sub": "ann", "jti": "one", "iat": now() - 10, "channels": ["tasks"]}));
    let expired = token(json!({"sub": "ann", "exp": 1000}));
    let early = token(json!({"sub": "ann", "nbf": now() + 5000}));
    let other = token_for("bob", &["*"]);
    let permit = token(json!({"sub": "ann", "channel": "messages:42"}));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let unnamed = format!(
        "eyJhbGciOiJub25lIn0.{}.",
        good.split('.').nth(1).expect("three parts")
    );
    let long = format!("{good}{}", "A".repeat(9000));
    let tokens = [
        &good, &expired, &early, &other, &permit, &forged, &unnamed, &long,
    ];

    for token in tokens {
        let is_short = token.len() < 8000;
        if is_short {
            let status = if [&good, &other].contains(&token) {
                200
            } else {
                401
            };
            for path in ["/cursor", "/events?channels=tasks", "/sse?channels=tasks"] {
                let found = door
                    .get(path, &format!("Authorization: Bearer {token}\r\n"))
                    .await;
                assert!(found == status || found == 429, "{path}: {found}");
                let sign = if path.contains('?') { '&' } else { '?' };
                door.get(&format!("{path}{sign}token={token}"), "").await;
                door.get(path, &format!("Cookie: rowcast_token={token}\r\n"))
                    .await;
                door.get(
                    &format!("{path}{sign}channel_token={token}"),
                    &format!("Authorization: Bearer {good}\r\n"),
                )
                .await;
                // By mistake, where there should be none.
                door.get(
                    &format!("{path}{sign}{token}=1"),
                    &format!("Authorization: Bearer {good}\r\n"),
                )
                .await;
                door.get(&format!("/{token}"), "").await;
            }
            for (path, line) in [
                (
                    "/ws".to_owned(),
                    format!("Authorization: Bearer {token}\r\n"),
                ),
                (
                    "/ws".to_owned(),
                    format!("Cookie: rowcast_token={token}\r\n"),
                ),
                (
                    "/ws".to_owned(),
                    format!("Sec-WebSocket-Protocol: rowcast.v1, rowcast.bearer.{token}\r\n"),
                ),
                (format!("/ws?token={token}"), String::new()),
            ] {
                door.speak(&path, &line, &[json!({"type": "hello"})]).await;
            }
        }
        door.speak("/ws", "", &[json!({"type": "hello", "token": token})])
            .await;
        let heard = door
            .speak(
                "/ws",
                &format!("Authorization: Bearer {good}\r\n"),
                &[
                    json!({"type": "auth", "token": token}),
                    json!({"type": "subscribe", "channels": ["messages:42", "tasks"], "tokens": [token]}),
                    json!({"type": "subscribe", "channels": [token]}),
                    json!({"type": token}),
                    json!({"type": "subscribe", "channels": ["tasks"], "since": token}),
                ],
            )
            .await;
        // Nor is one told to its sender, whole; but that `subscribed` names channels as they were asked for, be one a token.
        let tells = |text: &&String| text.contains(token.as_str());
        let told = heard.iter().filter(tells);
        let told: Vec<_> = told
            .filter(|text| !text.contains("\"type\":\"subscribed\""))
            .collect();
        assert!(told.is_empty(), "{told:?}");
    }

    for (path, body) in [
        ("/api/v1/broadcast", json!({"message": {"type": "notice"}})),
        ("/api/v1/disconnect", json!({"user": "bob"})),
        ("/api/v1/revoke", json!({"jti": "one"})),
        ("/api/v1/revoke", json!({"user": "bob"})),
    ] {
        for bearer in [ADMIN_TOKEN, &good] {
            let body = body.to_string();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = http(admin, &request).await;
            assert_eq!(
                answer.status == 401,
                bearer != ADMIN_TOKEN,
                "{}",
                answer.body
            );
        }
    }
    until("the revocation counts", async || {
        door.get("/cursor", &format!("Authorization: Bearer {good}\r\n"))
            .await
            != 200
    })
    .await;

    let output = server.output();
    assert!(output.contains("refused a token"), "it wrote all there is");
    assert!(output.lines().count() > 100, "{output}");
    let mut secrets = vec![SECRET, PASSWORD, ADMIN_TOKEN];
    secrets.extend(key.lines().filter(|line| line.len() > 40));
    for token in tokens {
        secrets.push(token);
        secrets.extend(token.split('.').filter(|part| part.len() > 10));
    }
    for line in output.lines() {
        for secret in &secrets {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
        assert!(!tells_a_secret(line), "{line}");
    }
}
