//! A Redis that speaks TLS, and users of it with no more rights than they need: what works, and what is said where it cannot.

use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::authority::Authority;
use super::support::process::free_port;
use super::support::redis::Redis;
use super::support::relay::Relay;
use super::support::{Database, until, within};
use super::{client, edge_of, hear_events, insert, last_cursor, listeners, numbers, post};

/// With all that ends a password early in a URL.
const PASSWORD: &str = "n33dle/#?@:%";
const IN_URL: &str = "n33dle%2F%23%3F%40%3A%25";

/// What docs/OPERATIONS.md and the errors tell to grant.
const RIGHTS: [&str; 8] = [
    "~{rowcast}:*",
    "&{rowcast}:*",
    "+@read",
    "+@write",
    "+@scripting",
    "+@pubsub",
    "+@connection",
    "+time",
];

/// A Redis with two ports: one for the test, and one that speaks TLS.
struct Encrypted {
    redis: Redis,
    port: u16,
    authority: Authority,
}

impl Encrypted {
    /// `clients`: whether these have to show a certificate.
    fn start(clients: &str) -> Self {
        let authority = Authority::new();
        let files = authority.write();
        let port = free_port();
        let redis = Redis::start(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            files.cert.to_str().expect("a path"),
            "--tls-key-file",
            files.key.to_str().expect("a path"),
            "--tls-ca-cert-file",
            authority.path("authority.pem").to_str().expect("a path"),
            "--tls-auth-clients",
            clients,
        ]);
        let redis = Self {
            redis,
            port,
            authority,
        };
        redis.grant("rowcast", &RIGHTS);
        redis
    }

    /// A user with these rights and no others.
    fn grant(&self, user: &str, rights: &[&str]) {
        let password = format!(">{PASSWORD}");
        let mut command = vec!["ACL", "SETUSER", user, "reset", "on", &password];
        command.extend(rights);
        self.redis.run::<String>(&command);
    }

    fn url(&self, user: &str) -> String {
        let roots = self.authority.path("authority.pem");
        let port = self.port;
        format!(
            "rediss://{user}:{IN_URL}@localhost:{port}/0?sslrootcert={}",
            roots.display()
        )
    }
}

/// Runs a relay that has to end by itself.
fn refused(database: &Database, url: &str) -> String {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(["relay", "--database-url", &database.url, "--to", url])
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .output()
        .expect("rowcast starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("{text}");
    assert_eq!(output.status.code(), Some(64), "{url}: {text}");
    assert!(!text.contains("n33dle"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_over_tls_with_the_rights_that_are_told() {
    let database = Database::postgres().await;
    let redis = Encrypted::start("no");
    let url = redis.url("rowcast");
    let _relay = Relay::start(&database.url, &url, &[]);
    let mut servers = [edge_of(&url, None, &[]), edge_of(&url, None, &[])];
    let mut listeners = listeners(&servers).await;
    let mut backend = database.connect().await;
    insert(&mut backend, 1..=3).await;
    let mut cursors = Vec::new();
    for listener in &mut listeners {
        let events = hear_events(listener, 3).await;
        assert_eq!(numbers(&events), [1, 2, 3]);
        cursors.push(last_cursor(&events));
    }
    insert(&mut backend, 4..=6).await;
    for listener in &mut listeners {
        assert_eq!(numbers(&hear_events(listener, 3).await), [4, 5, 6]);
    }
    // One that has nothing of it in memory, and reads back in the stream.
    let late = edge_of(&url, None, &[]);
    let mut resumed = client(&late, Some(&cursors[0])).await;
    assert_eq!(resumed.hear_a("subscribed").await["recovered"], true);
    assert_eq!(numbers(&hear_events(&mut resumed, 3).await), [4, 5, 6]);

    // What is told on one server is heard on the other.
    let told = json!({"channel": "tasks", "event": {"type": "typing", "payload": 7}});
    let answer = post(&servers[0].url, "/broadcast", &told).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let heard = within("what was told", listeners[1].hear_a("event")).await;
    assert_eq!(heard["event"]["payload"], 7, "{heard}");
    let answer = post(&servers[1].admin, "/api/v1/revoke", &json!({"user": "ann"})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    for server in &servers {
        server
            .wait_logged("a revocation counts from now on", 1)
            .await;
    }
    let revoked = "SELECT subject FROM rowcast_commands WHERE kind = 'revoke_user'";
    until("it to be in the table", async || {
        (backend.texts(revoked).await == ["ann"]).then_some(())
    })
    .await;
    for server in &mut servers {
        let text = server.output();
        assert!(!text.contains("n33dle"), "{text}");
        assert!(!text.contains("needs ~{NAME}"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_tls_from_working_is_said() {
    let database = Database::postgres().await;
    let redis = Encrypted::start("yes");
    let url = redis.url("rowcast");
    let other = Authority::new();
    let _ = other.write();
    let (port, plain) = (redis.port, redis.redis.port());
    let at = |host: &str| format!("rowcast:{IN_URL}@{host}");
    let roots = redis.authority.path("authority.pem");
    let roots = roots.display();
    let public = format!("rediss://{}:{port}", at("localhost"));
    let cases = [
        (public.clone(), "UnknownIssuer", "sslrootcert=FILE"),
        (
            format!("rediss://{}:{port}?sslrootcert={roots}", at("127.0.0.1")),
            "not valid for name \"127.0.0.1\"",
            "write a host into the URL",
        ),
        (url.clone(), "CertificateRequired", "sslcert=FILE"),
        (
            format!(
                "{url}&sslcert={}&sslkey={}",
                other.path("cert.pem").display(),
                other.path("key.pem").display()
            ),
            "does not trust our certificate",
            "tls-ca-cert-file",
        ),
        (
            format!("{public}?sslrootcert=/no/such/file"),
            "sslrootcert names /no/such/file",
            "No such file",
        ),
        (
            format!(
                "{public}?sslrootcert={}",
                redis.authority.path("key.pem").display()
            ),
            "sslrootcert names",
            "no certificate in PEM",
        ),
        (
            format!("{public}?sslmode=require"),
            "sslrootcert=FILE",
            "sslkey=FILE",
        ),
    ];
    for (url, wrong, to_do) in &cases {
        let text = refused(&database, url);
        assert!(text.contains(wrong) && text.contains(to_do), "{text}");
    }

    // What is there may be about to become a Redis, so it is waited for.
    for (url, said) in [
        (
            format!("redis://{}:{port}", at("localhost")),
            "A port that speaks TLS needs rediss://",
        ),
        (
            format!("rediss://{}:{plain}?sslrootcert={roots}", at("localhost")),
            "A port that does not speak TLS needs redis://",
        ),
    ] {
        relay_that_logs(&database, &url).wait(said).await;
    }

    let (cert, key) = redis.authority.sign();
    let write = |name: &str, text: &str| {
        let path = redis.authority.path(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (cert, key) = (write("ours.pem", &cert), write("ours.key", &key));
    let relay = relay_that_logs(
        &database,
        &format!("{url}&sslcert={}&sslkey={}", cert.display(), key.display()),
    );
    relay.wait("this relay leads").await;
    until("the stream to begin", async || {
        let exists: i64 = redis.redis.run(&["EXISTS", "{rowcast}:feed"]);
        (exists == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_told() {
    let database = Database::postgres().await;
    let redis = Encrypted::start("no");
    let told = RIGHTS.join(" ").replace("rowcast", "NAME");
    let without = |missing: &str| {
        RIGHTS
            .into_iter()
            .filter(|&right| right != missing)
            .collect()
    };
    for missing in RIGHTS.into_iter().filter(|&right| right != "+time") {
        let rights: Vec<_> = without(missing);
        redis.grant("poor", &rights);
        redis.redis.run::<String>(&["FLUSHALL"]);
        let mut url = redis.url("poor");
        if missing == "+@connection" {
            // That is to choose a database.
            url = url.replace("/0?", "/1?");
        }
        relay_that_logs(&database, &url).wait(&told).await;
    }
    // It is asked for when something is told.
    let _relay = Relay::start(&database.url, &redis.url("rowcast"), &[]);
    let rights: Vec<_> = without("+time");
    redis.grant("poor", &rights);
    let server = edge_of(&redis.url("poor"), None, &[]);
    let event = json!({"channel": "tasks", "event": {"type": "typing", "payload": 7}});
    let answer = post(&server.url, "/broadcast", &event).await;
    eprintln!("{} {}", answer.status, answer.body);
    assert_eq!(answer.status, 503, "{}", answer.body);
    server.wait_logged(&told, 1).await;
}

/// A relay that goes on.
struct Logging(
    std::process::Child,
    std::sync::Arc<std::sync::Mutex<String>>,
);

fn relay_that_logs(database: &Database, url: &str) -> Logging {
    use std::io::BufRead as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(["relay", "--database-url", &database.url, "--to", url])
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rowcast starts");
    let text = std::sync::Arc::<std::sync::Mutex<String>>::default();
    let to = std::sync::Arc::clone(&text);
    let lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            eprintln!("{line}");
            *to.lock().expect("nobody panics") += &(line + "\n");
        }
    });
    Logging(child, text)
}

impl Logging {
    async fn wait(&self, words: &str) {
        until(words, async || {
            let text = self.1.lock().expect("nobody panics");
            assert!(!text.contains("n33dle"), "{text}");
            text.contains(words).then_some(())
        })
        .await;
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
