//! `rowcast check`: what it finds, and that it changes nothing.

use std::process::{Command, Output};

use crate::authority::Authority;
use crate::support::process::{Process, free_port};
use crate::support::temp_dir;

fn check(flags: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .arg("check")
        .args(flags)
        .output()
        .expect("rowcast starts");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).expect("text"))
}

#[tokio::test]
async fn it_says_whether_a_server_would_start() {
    let folder = temp_dir();
    let file = folder.path().join("feed.db");
    let url = format!("sqlite://{}", file.display());
    let listen = format!("127.0.0.1:{}", free_port());
    let base = ["--database-url", &url, "--listen", &listen];
    let with = |more: &[&str]| check(&[&base[..], more].concat());

    let (code, text) = with(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is created at start"), "{text}");
    assert!(text.contains(&format!("{listen} is free")), "{text}");
    assert!(!file.exists(), "it creates nothing");
    let (code, text) = with(&["--migrate", "check"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("problem") && text.contains("rowcast migrate"),
        "{text}"
    );

    // An empty file has no tables yet.
    std::fs::write(&file, "").expect("written");
    let (code, text) = with(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("done at start"), "{text}");
    assert_eq!(std::fs::read(&file).expect("a file"), b"");
    assert_eq!(with(&["--migrate", "off"]).0, Some(1));

    // Another's file.
    std::fs::write(
        &file,
        "no database at all, but long enough to be taken for one",
    )
    .expect("ok");
    let (code, text) = with(&[]);
    assert_eq!(code, Some(1), "{text}");
    std::fs::remove_file(&file).expect("removed");

    let missing = format!("sqlite://{}", folder.path().join("no/feed.db").display());
    let (code, text) = check(&["--database-url", &missing, "--listen", &listen]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("create it first"), "{text}");

    let _server = Process::start_on(listen[10..].parse().expect("a port"), &url, &[]);
    let (code, text) = with(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another program has this port"), "{text}");
    let (code, text) = with(&["--running"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("all migrations are applied"), "{text}");
}

#[tokio::test]
async fn it_looks_at_files_and_limits() {
    let authority = Authority::new();
    let files = authority.write();
    let database = format!("sqlite://{}", authority.path("feed.db").display());
    let [cert, key] = [&files.cert, &files.key].map(|path| path.display().to_string());
    let origins = authority.path("origins").display().to_string();
    std::fs::write(&origins, "https://a.example\n").expect("written");
    let base = ["--database-url", &database, "--listen", "127.0.0.1:0"];
    let with = |more: &[&str]| check(&[&base[..], more].concat());
    let tls = ["--tls-cert", &*cert, "--tls-key", &*key];
    let listed = ["--allow-origin-file", &*origins];

    let (code, text) = with(&[&tls[..], &listed[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("match") && text.contains("has 1 origins"),
        "{text}"
    );

    // All problems are told, not only the first.
    std::fs::write(&files.key, authority.sign().1).expect("written");
    std::fs::write(&origins, "example").expect("written");
    let many = ["--max-connections", "4000000000"];
    let (code, text) = with(&[&tls[..], &listed[..], &many[..]].concat());
    assert_eq!(code, Some(1), "{text}");
    for words in [
        "is not the key of",
        "origins:1",
        "LimitNOFILE",
        "3 problems",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }

    for (flags, words) in [
        (&["--tls-cert", "a"][..], "--tls-key"),
        (&["--allow-origin", "example.com"], "--help"),
        (&["--trusted-proxy", "10.0.0.0/99"], "10.0.0.0/8"),
        (&["--handshake-timeout", "0s"], "--handshake-timeout"),
        (&["--grace-period", "2h"], "1h at most"),
        (&["--listen", "0.0.0.0:0"], "--public"),
    ] {
        let (code, text) = check(&[&base[..2], flags].concat());
        assert_eq!(code, Some(64), "{flags:?}: {text}");
        assert!(text.contains(words), "{text}");
    }
}
