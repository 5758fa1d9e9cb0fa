//! `rowcast token` and the flags of `rowcast serve` about tokens, in the real program.

use std::fs;
use std::process::{Command, Output};

use jsonwebtoken::Algorithm;

use crate::signer::{SECRET, Signer};

fn rowcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(arguments)
        .env_remove("ROWCAST_JWT_SECRET")
        .output()
        .expect("rowcast starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn a_secret_a_token_and_what_it_grants() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let key = key.to_str().unwrap();
    let (one, two) = (rowcast(&["token", "secret"]), rowcast(&["token", "secret"]));
    assert_ne!(stdout(&one), stdout(&two));
    fs::write(key, &one.stdout).unwrap();
    let mint = |more: &[&str]| {
        let arguments = [&["token", "mint", "--jwt-secret-file", key], more].concat();
        let output = rowcast(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let inspect = |token: &str, more: &[&str]| {
        rowcast(&[&["token", "inspect", "--jwt-secret-file", key, token], more].concat())
    };
    let token = mint(&[
        "--user",
        "ann",
        "--channels",
        "tasks,messages:42",
        "--publish",
        "x",
        "--claim",
        "n=[1]",
        "--claim",
        "t=a=b",
    ]);
    let said = inspect(&token, &["--grant", "org:{t},news"]);
    let text = stdout(&said);
    for line in [
        "accepted: connects",
        "user: \"ann\"",
        "subscribe: inbox:ann messages:42 news tasks user:ann",
        "publish: x",
        "\"t\": \"a=b\"",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains(token.rsplit('.').next().unwrap()), "{text}");

    let strange = inspect(&mint(&["--user", "auth0|123"]), &[]);
    assert!(stdout(&strange).contains("not one part of a channel name"));
    let permit = inspect(&mint(&["--user", "ann", "--channel", "project:7"]), &[]);
    assert!(
        stdout(&permit).contains("permits one subscription"),
        "{}",
        stdout(&permit)
    );

    let refused = inspect(&mint(&["--claim", "aud=feed"]), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("add --jwt-audience"),
        "{}",
        stderr(&refused)
    );
    assert!(
        inspect(&mint(&["--claim", "aud=feed"]), &["--jwt-audience", "feed"])
            .status
            .success()
    );
    let expired = inspect(&mint(&["--claim", "exp=1"]), &[]);
    assert!(stderr(&expired).contains("expired"), "{}", stderr(&expired));

    // With a private key, and the public one of it.
    for algorithm in [
        Algorithm::RS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let signer = Signer::new(algorithm);
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (private, public) = (path("private"), path("public"));
        fs::write(&private, &signer.private).unwrap();
        fs::write(&public, &signer.public).unwrap();
        let token = rowcast(&[
            "token",
            "mint",
            "--private-key-file",
            &private,
            "--user",
            "ann",
        ]);
        let said = rowcast(&[
            "token",
            "inspect",
            "--jwt-public-key-file",
            &public,
            &stdout(&token),
        ]);
        assert!(said.status.success(), "{algorithm:?}: {}", stderr(&said));
        let wrong = rowcast(&["token", "mint", "--private-key-file", &public]);
        assert!(
            stderr(&wrong).contains("private key is needed"),
            "{}",
            stderr(&wrong)
        );
    }
}

#[test]
fn flags_that_do_not_fit_are_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, SECRET).unwrap();
    let key = key.to_str().unwrap();
    for (arguments, why) in [
        (vec!["--listen", "0.0.0.0:0"], "rowcast token secret > key"),
        (vec!["--listen", "0.0.0.0:0"], "--public"),
        (vec!["--public", "--jwt-secret-file", key], "choose one"),
        (vec!["--jwt-audience", "feed"], "without a key"),
        (vec!["--no-default-grants"], "without a key"),
        (vec!["--jwt-secret", "hunter2"], "openssl rand -base64 32"),
        (vec!["--jwt-secret-file", "/nonexistent"], "cannot be read"),
        (vec!["--jwks-url", "http://id.example.org/"], "use https"),
        (vec!["--grant", "a b", "--jwt-secret-file", key], "a b"),
        (vec!["--jwt-secret-file", key, "--jwt-leeway", "1h"], "10m"),
        (vec!["token", "mint", "--user", "ann"], "--jwt-secret-file"),
        (
            vec!["token", "mint", "--jwt-secret-file", key, "--claim", "x"],
            "NAME=VALUE",
        ),
        (vec!["token", "inspect", "x"], "no key"),
        (
            vec!["token", "inspect", "x", "eyJhunter2"],
            "unexpected argument",
        ),
        (vec!["eyJhunter2"], "unrecognized subcommand"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args(&arguments)
            .current_dir(folder.path())
            .output()
            .expect("rowcast starts");
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
