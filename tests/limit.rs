//! The limit program of benchmarks does what figures are compared with: it serves the load generator, which finds that
//! nothing is missing; and it writes once for what was published at once.
#![cfg(feature = "sqlite")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::example::example;
use support::npm::succeed;
use support::temp_dir;
use tungstenite::Message;

const SUBSCRIBE: &str = r#"{"type":"subscribe","channels":["a","b"]}"#;

/// One channel for all, one for each, and several for each, which are other ways of writing.
#[test]
fn the_generator_finds_nothing_missing() {
    let folder = temp_dir();
    let path = folder.path().join("limit.toml");
    let dialect = format!(
        r#"
        [[server]]
        name = "limit"
        limit = true
        command = [{:?}, "--port", "{{port}}"]
        url = "ws://127.0.0.1:{{port}}/"
        subscribe = ['{{"type":"subscribe","channels":[{{channels}}]}}']
        subscribed = '"type":"subscribed"'
        publish = {{ url = "http://127.0.0.1:{{port}}/publish", many = "lines" }}
        "#,
        example("limit")
    );
    fs::write(&path, dialect).expect("it is written");
    for (channels, each) in [("1", "1"), ("each", "1"), ("7", "3")] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        bench
            .args(["bench", "fanout", "--clients", "20", "--batch", "1,30"])
            .args(["--rounds", "1", "--json", "--channels", channels])
            .args(["--channels-per-client", each, "--beside"])
            .arg(&path);
        let json: Value = serde_json::from_str(&succeed(&mut bench)).expect("JSON");
        let servers = json["servers"].as_array().expect("there are servers");
        let [rowcast, limit] = &**servers else {
            panic!("two servers: {json}");
        };
        assert_eq!(limit["name"], "limit");
        assert_eq!(limit["isBase"], true, "ratios are against it: {json}");
        assert_eq!(limit["deliveries"], rowcast["deliveries"], "{json}");
        assert_eq!(limit["lost"], 0, "{json}");
    }
}

/// Who has several channels gets what was published at once in the order of publishing, and whoever sends nonsense is
/// closed without harm to others.
#[test]
fn it_answers_and_goes_on() {
    let mut limit = Command::new(example("limit"));
    let mut program = Program(limit.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut line = String::new();
    let output = program.0.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says where it listens");
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap_or_else(|| panic!("no address: {line}"));
    let connect = || {
        let stream = TcpStream::connect(address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("it can be set");
        stream
    };

    let (mut client, _) =
        tungstenite::client(format!("ws://{address}/"), connect()).expect("it answers the upgrade");
    client.send(SUBSCRIBE.into()).expect("it reads");
    assert_eq!(text(client.read()), r#"{"type":"subscribed"}"#);

    let (mut other, _) = tungstenite::client(format!("ws://{address}/"), connect()).expect("again");
    other.send("nonsense".into()).expect("it reads");
    other.read().expect_err("it is closed");

    let mut publisher = connect();
    for (request, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 404"),
        (
            b"POST /publish HTTP/1.1\r\nContent-Length: 1\r\n\r\n\xff",
            "HTTP/1.1 400",
        ),
        // Lines of channels that nobody has, and such as are none, are nobody's.
        (
            b"POST /publish HTTP/1.1\r\nContent-Length: 33\r\n\r\nb {\"n\":1}\nc {}\na {\"n\":2}\nnothing\n",
            "HTTP/1.1 204",
        ),
    ] {
        publisher.write_all(request).expect("it reads");
        let mut head = vec![0; answer.len()];
        publisher.read_exact(&mut head).expect("it answers");
        assert_eq!(String::from_utf8_lossy(&head), answer);
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            publisher.read_exact(&mut byte).expect("all of a head");
            rest.extend(byte);
        }
    }
    for number in 1..=2 {
        let frame: Value = serde_json::from_str(&text(client.read())).expect("JSON");
        assert_eq!(frame["event"]["payload"]["n"], number, "{frame}");
        assert_eq!(frame["channels"][0], if number == 1 { "b" } else { "a" });
    }
}

/// Ends with the test, however that ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(message: tungstenite::Result<Message>) -> String {
    message
        .expect("a message")
        .into_text()
        .expect("text")
        .to_string()
}
