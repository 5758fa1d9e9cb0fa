//! The configuration file as its users have it: what comes first, what is refused and how, and what `rowcast config`
//! prints. By the real program.
#![cfg(feature = "sqlite")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use rowcast::config::ConfigFile;
use serde_json::Value;
use support::process::{Process, free_port};
use support::{temp_dir, within};
use tempfile::TempDir;
use tokio::process::Command;

/// Occurs in values that are secret, and may be in no output.
const NEEDLE: &str = "needle0123456789abcdef";

/// A folder with this `rowcast.toml`.
fn folder(text: &str) -> TempDir {
    let folder = temp_dir();
    fs::write(folder.path().join("rowcast.toml"), text).expect("the folder is ours");
    folder
}

/// What the program does in a folder.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn rowcast(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(&format!("the end of {command:?}"), command.output()).await;
    let output = output.expect("the program can be run");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What `rowcast config print` says of a key: its value as TOML, and where that comes from.
async fn printed(
    folder: &Path,
    key: &str,
    flags: &[&str],
    environment: &[(&str, &str)],
) -> (String, String) {
    let done = rowcast(folder, &[&["config", "print"], flags].concat(), environment).await;
    assert_eq!(done.code, Some(0), "{key} {flags:?}: {}", done.stderr);
    let start = format!("{key} = ");
    let line = done
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("no {key} in: {}", done.stdout));
    let (value, origin) = line.rsplit_once(" # ").expect("where it comes from");
    (value.to_owned(), origin.to_owned())
}

async fn assert_refused(text: &str, arguments: &[&str], words: &[&str]) {
    let folder = folder(text);
    let done = rowcast(folder.path(), arguments, &[]).await;
    assert_line(&done, words, text);
}

fn assert_line(done: &Done, words: &[&str], what: &str) {
    assert_eq!(done.code, Some(64), "{what}: {}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{what}: {}", done.stderr);
    assert!(done.stderr.starts_with("rowcast: "), "{}", done.stderr);
    for word in words {
        assert!(
            done.stderr.contains(word),
            "{what}: no {word:?} in: {}",
            done.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_come_before_the_environment_before_the_file_before_defaults() {
    // Key; in the file and what that prints; in the environment; as flags; what these print; the default.
    for (key, written, in_file, variable, in_variable, flag, in_flag, default) in [
        (
            "poll_interval",
            "\"250ms\"",
            "\"250ms\"",
            "1s",
            "\"1s\"",
            &["2s"][..],
            "\"2s\"",
            "\"500ms\"",
        ),
        ("shards", "0x1_0", "16", "3", "3", &["4"], "4", ""),
        (
            "max_subscriptions",
            "\"20\"",
            "20",
            "30",
            "30",
            &["40"],
            "40",
            "1000",
        ),
        (
            "listen",
            "\"127.0.0.1:4000\"",
            "\"127.0.0.1:4000\"",
            "127.0.0.1:4001",
            "\"127.0.0.1:4001\"",
            &["[::1]:4002"],
            "\"[::1]:4002\"",
            "\"127.0.0.1:3001\"",
        ),
        (
            "migrate",
            "\"check\"",
            "\"check\"",
            "off",
            "\"off\"",
            &["auto"],
            "\"auto\"",
            "\"auto\"",
        ),
        (
            "public",
            "true",
            "true",
            "false",
            "false",
            &[],
            "true",
            "false",
        ),
        (
            "trusted_proxy",
            "[\"10.0.0.0/8\", \"fd00::/8\"]",
            "[\"10.0.0.0/8\", \"fd00::/8\"]",
            "10.0.0.1 10.0.0.2",
            "[\"10.0.0.1\", \"10.0.0.2\"]",
            &["10.0.0.3"],
            "[\"10.0.0.3\"]",
            "[]",
        ),
        // A text for a list is written as in the environment.
        (
            "allow_origin",
            "\"https://a.example https://b.example\"",
            "[\"https://a.example\", \"https://b.example\"]",
            "*",
            "[\"*\"]",
            &["null"],
            "[\"null\"]",
            "[]",
        ),
        (
            "retain",
            "'7d'",
            "\"7d\"",
            "8d",
            "\"8d\"",
            &["9d"],
            "\"9d\"",
            "",
        ),
        (
            "database_url",
            "\"sqlite://a.db\"",
            "\"sqlite://a.db\"",
            "sqlite://b.db",
            "\"sqlite://b.db\"",
            &["sqlite://c.db"],
            "\"sqlite://c.db\"",
            "\"sqlite://rowcast.db\"",
        ),
        (
            "schema",
            "\"a # \\\"b\\\"\"",
            "'a # \"b\"'",
            "c",
            "\"c\"",
            &["d"],
            "\"d\"",
            "",
        ),
        // Declared for all commands.
        (
            "log",
            "\"error\"",
            "\"error\"",
            "warn",
            "\"warn\"",
            &["info"],
            "\"info\"",
            "\"warn,rowcast=info\"",
        ),
        (
            "log_format",
            "\"json\"",
            "\"json\"",
            "pretty",
            "\"pretty\"",
            &["json"],
            "\"json\"",
            "",
        ),
    ] {
        let empty = temp_dir();
        if default.is_empty() {
            let done = rowcast(empty.path(), &["config", "print"], &[]).await;
            assert!(
                done.stdout.contains(&format!("#{key} is not set\n")),
                "{}",
                done.stdout
            );
        } else {
            let found = printed(empty.path(), key, &[], &[]).await;
            assert_eq!(found, (default.to_owned(), "default".to_owned()), "{key}");
        }

        let folder = folder(&format!("# A comment.\n{key} = {written}\n"));
        let found = printed(folder.path(), key, &[], &[]).await;
        assert_eq!(
            found,
            (in_file.to_owned(), "rowcast.toml:2".to_owned()),
            "{key}"
        );

        let name = format!("ROWCAST_{}", key.to_uppercase());
        let environment = [(name.as_str(), variable)];
        let found = printed(folder.path(), key, &[], &environment).await;
        let origin = format!("environment variable {name}");
        assert_eq!(found, (in_variable.to_owned(), origin), "{key}");

        let dashed = format!("--{}", key.replace('_', "-"));
        let flags = [&[dashed.as_str()], flag].concat();
        let found = printed(folder.path(), key, &flags, &environment).await;
        assert_eq!(
            found,
            (in_flag.to_owned(), format!("flag {dashed}")),
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_of_the_environment_comes_before_that_of_the_file() {
    let folder = folder("database_url = \"sqlite://file.db\"");
    let both = [
        ("DATABASE_URL", "sqlite://all.db"),
        ("ROWCAST_DATABASE_URL", "sqlite://ours.db"),
    ];
    for (environment, made) in [
        (&both[..], "ours.db"),
        (&both[..1], "all.db"),
        (&[("DATABASE_URL", "")], "file.db"),
    ] {
        let done = rowcast(folder.path(), &["migrate"], environment).await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(made), "{}", done.stdout);
        assert!(folder.path().join(made).exists(), "{made}");
    }
    let found = printed(folder.path(), "database_url", &[], &both[..1]).await;
    let expected = ("\"sqlite://all.db\"", "environment variable DATABASE_URL");
    assert_eq!((found.0.as_str(), found.1.as_str()), expected);
}

/// Itself or in a file: two ways to say one thing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_flag_says_replaces_the_other_way_to_say_it() {
    let shared = folder("admin_token = \"0123456789abcdef0\"\njwt_secret_file = [\"old\"]\n");
    let flags = ["--admin-token-file", "token", "--jwt-secret-file", "new"];
    fs::write(shared.path().join("token"), "fedcba9876543210").expect("the folder is ours");
    let print = [&["config", "print"][..], &flags].concat();
    let done = rowcast(shared.path(), &print, &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for line in [
        "#admin_token is not set\n",
        "admin_token_file = \"token\" # flag --admin-token-file\n",
        "jwt_secret_file = [\"new\"] # flag --jwt-secret-file\n",
    ] {
        assert!(done.stdout.contains(line), "{line}{}", done.stdout);
    }
    let environment = [("ROWCAST_JWT_SECRET", "abcdefghijklmnopqrstuvwxyz012345")];
    let done = rowcast(shared.path(), &["config", "print"], &environment).await;
    let line = "jwt_secret_file = [] # default\n";
    assert!(done.stdout.contains(line), "{}", done.stdout);

    // In one file neither comes before the other.
    let text = "admin_token_file = \"token\"\n\nadmin_token = \"0123456789abcdef0\"\n";
    let words = [
        "rowcast.toml:3: admin_token:",
        "admin_token_file on line 1",
        "keep one",
    ];
    assert_refused(text, &["check"], &words).await;
    // Two keys are two keys.
    let text = "jwt_secret = \"abcdefghijklmnopqrstuvwxyz012345\"\njwt_secret_file = \"k\"\n";
    let folder = folder(text);
    let found = printed(folder.path(), "jwt_secret_file", &[], &[]).await;
    assert_eq!(found.1, "rowcast.toml:2");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_one_line_with_the_place_and_what_to_do() {
    for (text, words) in [
        // Mistyped keys.
        (
            "pol_interval = \"1s\"",
            &["rowcast.toml:1: unknown key \"pol_interval\"; did you mean poll_interval?"][..],
        ),
        (
            "poll-interval = \"1s\"",
            &["\"poll-interval\"; did you mean poll_interval?"],
        ),
        (
            "\n\nmaxConnections = 5",
            &["rowcast.toml:3:", "did you mean max_connections?"],
        ),
        (
            "xyzzy = 1",
            &["unknown key \"xyzzy\"", "rowcast config default"],
        ),
        ("config = \"x\"", &["unknown key \"config\""]),
        ("older_than = \"7d\"", &["unknown key \"older_than\""]),
        (
            "[database]\nurl = \"x\"",
            &[
                "rowcast.toml:1: unknown key \"database\"",
                "[[endpoint]]",
                "above them",
            ],
        ),
        ("[[endpoints]]\n", &["did you mean [[endpoint]]?"]),
        ("[endpoint]\npath = \"/\"", &["two brackets: [[endpoint]]"]),
        (
            "[[preset]]\npath = \"/\"",
            &["with its name: [preset.mine]"],
        ),
        // Values that the flag would not take.
        (
            "\npoll_interval = \"5 parsecs\"",
            &[
                "rowcast.toml:2: poll_interval: invalid value \"5 parsecs\"",
                "for example 500ms",
            ],
        ),
        (
            "poll_interval = \"2h\"",
            &["poll_interval: invalid value \"2h\"", "1ms and 1h"],
        ),
        (
            "shards = 1000",
            &["shards: invalid value \"1000\"", "1..=256"],
        ),
        (
            "shards = -1",
            &["shards: invalid value \"-1\": it is a whole number"],
        ),
        (
            "max_replay = \"ten\"",
            &["invalid value \"ten\": it is a whole number"],
        ),
        (
            "max_replay = 170141183460469231731687303715884105728",
            &["max_replay: a number beyond all limits"],
        ),
        (
            "migrate = \"never\"",
            &["migrate: invalid value \"never\": it is one of auto, check, off"],
        ),
        (
            "allow_origin = [\n  \"https://a.example\",\n  \"b.example/c\",\n]",
            &["rowcast.toml:3: allow_origin: invalid value \"b.example/c\""],
        ),
        (
            "tls_cert = \"\"",
            &["tls_cert: invalid value \"\"", "empty"],
        ),
        (
            "database_url = \"mysql://root@localhost/db\"",
            &["rowcast.toml:1: database_url:", "Postgres and SQLite"],
        ),
        // Of the wrong type.
        (
            "public = \"yes\"",
            &["public: a text cannot be here; write public = false"],
        ),
        (
            "public = 1",
            &["public: a number cannot be here; write public = false"],
        ),
        (
            "listen = 3001",
            &["listen: a number cannot be here; write listen = \"127.0.0.1:3001\""],
        ),
        (
            "listen = [\"127.0.0.1:1\"]",
            &["listen: a list cannot be here"],
        ),
        (
            "shards = true",
            &["shards: true or false cannot be here; write shards = N"],
        ),
        (
            "max_replay = 1.5",
            &["max_replay: a number with a fraction cannot be here"],
        ),
        (
            "retain = 1979-05-27",
            &["retain: a date cannot be here; write retain = \"DURATION\""],
        ),
        (
            "schema = { name = \"x\" }",
            &["schema: a table cannot be here"],
        ),
        (
            "grant = [\n\"tasks\", [\"x\"]]",
            &["rowcast.toml:2: grant: a list cannot be here"],
        ),
        // No TOML.
        (
            "listen = \"a\"\nlisten = \"b\"",
            &["rowcast.toml:2: column 1: duplicate key \"listen\"; keep one"],
        ),
        (
            "listen = 127.0.0.1:3001",
            &["rowcast.toml:1: column 15:", "quotes"],
        ),
        ("grant = [\"tasks\"\n\nlisten", &["rowcast.toml:"]),
        ("poll_interval", &["rowcast.toml:1: column 14:"]),
        ("schema = \"ä\" ö", &["rowcast.toml:1: column 14:"]),
        // What is good by itself, and not together.
        (
            "poll_interval = \"1s\"\npoll_interval_min = \"2s\"",
            &["shorter (rowcast.toml:1 sets poll_interval, rowcast.toml:2 sets poll_interval_min)"],
        ),
        (
            "tls_cert = \"cert.pem\"",
            &["--tls-key belong together", "rowcast.toml:1 sets tls_cert"],
        ),
        (
            "listen = \"0.0.0.0:0\"",
            &["--public", "(rowcast.toml:1 sets listen)"],
        ),
    ] {
        assert_refused(text, &["serve"], words).await;
    }
    // Whichever command reads it.
    for command in [
        &["migrate"][..],
        &["doctor"],
        &["tail"],
        &["token", "mint"],
        &["emit", "a", "b"],
    ] {
        let words = ["rowcast.toml:1: poll_interval: invalid value"];
        assert_refused("poll_interval = \"x\"", command, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_shown() {
    // In the wrong place, of the wrong type, or the end of the quotes forgotten.
    for text in [
        format!("admin_token = \"{NEEDLE} \t\u{1}\""),
        format!("admin_token = \"{NEEDLE} and more\""),
        format!("admin_token = \"{NEEDLE}"),
        format!("admin_token = {NEEDLE}"),
        format!("admin_token = [\"{NEEDLE}\"]"),
        format!("token = \"{NEEDLE} {NEEDLE}\""),
        format!("jwt_secret = '''{NEEDLE}"),
        format!("database_url = \"postgres://user:{NEEDLE}@host:port/db\""),
        format!("database_url = \"mysql://user:{NEEDLE}@host/db\""),
        format!("jwks_url = \"http://user:{NEEDLE}@host/keys?x={NEEDLE}\""),
        format!("listen = \"postgres://user:{NEEDLE}@host/db\""),
        format!("retain = \"eyJ{NEEDLE}\""),
    ] {
        let folder = folder(&text);
        let done = rowcast(folder.path(), &["check"], &[]).await;
        assert_line(&done, &["rowcast.toml:1:"], &text);
        assert!(!done.stderr.contains(NEEDLE), "{}", done.stderr);
    }
    let folder = folder(&format!(
        "database_url = \"postgres://user:{NEEDLE}@host/db?sslpassword={NEEDLE}\"\n\
         admin_token = \"{NEEDLE}\"\n\
         jwt_secret = \"{NEEDLE}{NEEDLE}\"\n\
         jwks_url = \"https://user:{NEEDLE}@host/keys?key={NEEDLE}\"\n\
         token = \"{NEEDLE}\"\n"
    ));
    let variables = [(
        "ROWCAST_JWT_SECRET",
        "needle0123456789abcdef-from-the-environment",
    )];
    for (flags, environment) in [
        (&[][..], &[][..]),
        (&["--admin-token", NEEDLE], &[]),
        (&[], &variables),
    ] {
        let print = [&["config", "print"], flags].concat();
        let done = rowcast(folder.path(), &print, environment).await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        for line in [
            "database_url = \"postgres://user:***@host/db?",
            "admin_token = \"***\" #",
            "jwt_secret = \"***\" #",
            "jwks_url = \"https://host/keys\" #",
        ] {
            assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
        }
        assert!(!done.stdout.contains(NEEDLE), "{}", done.stdout);
        assert!(!done.stderr.contains(NEEDLE), "{}", done.stderr);
    }
    let path = folder.path().join("rowcast.toml");
    let file = ConfigFile::read(&path).expect("it is good");
    assert!(!format!("{file:?}").contains(NEEDLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_file_says_what_holds_without_it() {
    let empty = temp_dir();
    let default = rowcast(empty.path(), &["config", "default"], &[]).await;
    assert_eq!(default.code, Some(0), "{}", default.stderr);
    assert!(
        default
            .stdout
            .lines()
            .all(|line| line.is_empty() || line.starts_with('#'))
    );

    // With every default uncommented nothing changes but where it is said.
    let is_default = |line: &&str| {
        let key = line
            .strip_prefix('#')
            .and_then(|line| line.split_once(" = "));
        key.is_some_and(|(key, value)| !key.contains(' ') && !value.starts_with('<'))
    };
    let uncommented: Vec<_> = default
        .stdout
        .lines()
        .map(|line| if is_default(&line) { &line[1..] } else { line })
        .collect();
    let count = default.stdout.lines().filter(is_default).count();
    assert!(count > 30, "{count} keys have defaults: {}", default.stdout);
    let full = folder(&uncommented.join("\n"));
    let values = |text: &str| toml::from_str::<toml::Table>(text).expect("it is TOML");
    let nothing = rowcast(empty.path(), &["config", "print"], &[]).await;
    let everything = rowcast(full.path(), &["config", "print"], &[]).await;
    assert_eq!(everything.code, Some(0), "{}", everything.stderr);
    assert_eq!(values(&everything.stdout), values(&nothing.stdout));
    let said = everything.stdout.matches(" # rowcast.toml:").count();
    // Those of other commands are not printed.
    assert!(
        said > 30 && said + 3 >= count - 1,
        "{said}: {}",
        everything.stdout
    );

    // What is printed is a file that says the same.
    let printed = folder(&nothing.stdout);
    let again = rowcast(printed.path(), &["config", "print"], &[]).await;
    assert_eq!(values(&again.stdout), values(&nothing.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_know_good_files_from_bad_ones() {
    let folder = folder("");
    let done = rowcast(folder.path(), &["config", "schema"], &[]).await;
    let schema: Value = serde_json::from_str(&done.stdout).expect("it is JSON");
    jsonschema::meta::validate(&schema).expect("it is a schema");
    let schema = jsonschema::validator_for(&schema).expect("it is a schema");
    for (text, is_good) in [
        ("", true),
        (
            "public = true\nshards = 4\nmax_replay = \"5\"\nmigrate = \"check\"",
            true,
        ),
        (
            "allow_origin = [\"*\"]\ngrant = \"tasks\"\njwt_secret_file = \"key\"\nlisten = \"127.0.0.1:1\"",
            true,
        ),
        (
            "[[endpoint]]\npath = \"/a\"\n[preset.mine]\nbase = \"default\"\n",
            true,
        ),
        ("[[endpoint]]\n", false),
        ("[[endpoint]]\npath = \"/a\"\nauth = \"basic\"\n", false),
        ("[[endpoint]]\npath = \"/a\"\nchanels = []\n", false),
        ("[preset.mine]\nbase = \"default\"\nsever = {}\n", false),
        ("[preset.mine]\nclose = { unauthorized = \"x\" }\n", false),
        ("pol_interval = \"1s\"", false),
        ("public = \"yes\"", false),
        ("shards = \"four\"", false),
        ("shards = -4", false),
        ("shards = 1.5", false),
        ("migrate = \"never\"", false),
        ("listen = 3001", false),
        ("listen = [\"127.0.0.1:1\"]", false),
        ("allow_origin = [1]", false),
        ("[endpoint]\n", false),
        ("[[preset]]\n", false),
    ] {
        let value: Value = toml::from_str(text).expect("it is TOML");
        assert_eq!(schema.is_valid(&value), is_good, "{text}");
        // The program sees it as editors do.
        fs::write(folder.path().join("rowcast.toml"), text).expect("the folder is ours");
        let done = rowcast(folder.path(), &["config", "print"], &[]).await;
        assert_eq!(done.code == Some(0), is_good, "{text}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_printed_as_they_were_written() {
    let tables = "# For the board.\n[[endpoint]]\npath = '/x'   # here\n\n[preset.mine]\nping = { pong = true }\n";
    let folder = folder(&format!("schema = \"s\"\n\n{tables}"));
    let done = rowcast(folder.path(), &["config", "print"], &[]).await;
    let printed = toml::from_str::<toml::Table>(&done.stdout).expect("it is TOML");
    assert_eq!(
        printed["preset"]["mine"]["ping"]["pong"].as_bool(),
        Some(true)
    );
    assert!(done.stdout.ends_with(tables), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_listens_where_the_file_says() {
    for (name, flags, environment) in [
        ("rowcast.toml", &[][..], None),
        ("other.toml", &["--config", "other.toml"], None),
        ("other.toml", &[], Some(("ROWCAST_CONFIG", "other.toml"))),
    ] {
        let folder = temp_dir();
        let port = free_port();
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nadmin_listen = \"off\"\ndatabase_url = \"sqlite://file.db\"\n"
        );
        // Not read where another is named.
        fs::write(folder.path().join("rowcast.toml"), "xyzzy").expect("the folder is ours");
        fs::write(folder.path().join(name), text).expect("the folder is ours");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command.current_dir(folder.path()).arg("serve").args(flags);
        command.env_clear().envs(environment);
        let mut server = Process::spawn(command).expect("it serves");
        assert_eq!(server.url, format!("ws://127.0.0.1:{port}/ws"));
        assert_eq!(server.admin, "off");
        TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let output = server.output();
        let told = output
            .lines()
            .filter(|line| line.contains("configuration file"));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{output}");
        assert!(told[0].contains(name), "{output}");
        assert!(folder.path().join("file.db").exists());
    }
}

/// SIGHUP has other files read again.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_the_file_of_a_running_server_is_told_to_restart() {
    let folder = folder("listen = \"127.0.0.1:0\"\ndatabase_url = \"sqlite://file.db\"\n");
    fs::write(folder.path().join("origins"), "").expect("the folder is ours");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.current_dir(folder.path()).env_clear();
    command.args(["--allow-origin-file", "origins"]);
    let server = Process::spawn(command).expect("it serves");
    let hang_up = || {
        let id = server.id().to_string();
        let status = std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status();
        assert!(status.expect("there is kill").success());
    };
    hang_up();
    server.wait_logged("reloaded", 1).await;
    fs::write(folder.path().join("rowcast.toml"), "xyzzy").expect("the folder is ours");
    hang_up();
    server.wait_logged("reloaded", 2).await;
    server
        .wait_logged("read at start only, so restart", 1)
        .await;
    assert_eq!(
        server.logged("so restart").len(),
        1,
        "it was told of the change only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_takes_what_is_its_own() {
    let folder = folder(
        "database_url = \"sqlite://file.db\"\npoll_interval = \"1s\"\nadmin_url = \"http://127.0.0.1:1\"\n\
         url = \"ws://127.0.0.1:1/ws\"\njwt_secret_file = [\"key\", \"older\"]\nlisten = \"0.0.0.0:1\"\n",
    );
    let key = rowcast(folder.path(), &["token", "secret"], &[]).await;
    for name in ["key", "older"] {
        fs::write(folder.path().join(name), &key.stdout).expect("the folder is ours");
    }
    let done = rowcast(folder.path(), &["emit", "tasks", "task.created"], &[]).await;
    assert!(done.stdout.contains("sqlite://file.db"), "{}", done.stderr);
    let prune = ["prune", "--older-than", "7d", "--dry-run"];
    let done = rowcast(folder.path(), &prune, &[]).await;
    assert!(done.stdout.contains("sqlite://file.db"), "{}", done.stderr);
    let done = rowcast(folder.path(), &["doctor"], &[]).await;
    assert!(done.stdout.contains("sqlite://file.db"), "{}", done.stderr);
    // What the server takes for a token of its own is made with the same file.
    let minted = rowcast(folder.path(), &["token", "mint", "--user", "ann"], &[]).await;
    let inspect = ["token", "inspect", minted.stdout.trim()];
    let done = rowcast(folder.path(), &inspect, &[]).await;
    assert!(
        done.stdout.contains("user: \"ann\""),
        "{}{}",
        minted.stderr,
        done.stderr
    );
    let done = rowcast(folder.path(), &["why", "--event", "1"], &[]).await;
    assert!(
        done.stderr.contains("http://127.0.0.1:1"),
        "{}",
        done.stderr
    );
    let done = rowcast(folder.path(), &["check", "--running"], &[]).await;
    assert!(
        done.stdout.contains("rowcast.toml was read"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("0.0.0.0:1 was not looked at"),
        "{}",
        done.stdout
    );
    // The demo is the same everywhere: this file would have it listen beyond this machine.
    let done = rowcast(folder.path(), &["demo", "--count", "1"], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // Help is of use where the file is at fault.
    fs::write(folder.path().join("rowcast.toml"), "xyzzy").expect("the folder is ours");
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["config", "default"],
        &["token", "secret"],
    ] {
        let done = rowcast(folder.path(), arguments, &[]).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_are_named() {
    let folder = temp_dir();
    let path = folder.path();
    fs::create_dir(path.join("folder")).expect("the folder is ours");
    fs::write(
        path.join("latin1"),
        b"# caf\xc3\xa9\nschema = \"caf\xe9\"\n",
    )
    .expect("the folder is ours");
    fs::write(path.join("huge"), "#".repeat((1 << 20) + 1)).expect("the folder is ours");
    fs::write(path.join("large"), "#".repeat(1 << 20)).expect("the folder is ours");
    fs::write(path.join("file"), "").expect("the folder is ours");
    for (name, words) in [
        (
            "absent.toml",
            &[
                "absent.toml: there is no such file",
                "rowcast config default",
            ][..],
        ),
        ("file/absent.toml", &["file/absent.toml: it cannot be read"]),
        ("folder", &["folder: this is a folder"]),
        ("latin1", &["latin1:2: this is not UTF-8"]),
        ("huge", &["huge: a configuration file has 1 MiB at most"]),
    ] {
        let named = ["check", &format!("--config={name}")];
        assert_line(&rowcast(path, &named, &[]).await, words, name);
        let done = rowcast(path, &["migrate"], &[("ROWCAST_CONFIG", name)]).await;
        assert_line(&done, words, name);
    }
    let done = rowcast(path, &["config", "print", "--config", "large"], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // A link that leads nowhere was meant to lead somewhere.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("gone", path.join("rowcast.toml")).expect("the folder is ours");
        let done = rowcast(path, &["check"], &[]).await;
        assert_line(&done, &["rowcast.toml: there is no such file"], "a link");
    }
}

/// Root may read everything unless it gives that up.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_the_right_to_read_it_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder("");
    let path = folder.path().join("rowcast.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is ours");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]);
    if fs::read(&path).is_err() {
        command = Command::new("env");
    }
    command
        .args([env!("CARGO_BIN_EXE_rowcast"), "migrate"])
        .current_dir(folder.path());
    let output = within("the end", command.kill_on_drop(true).output()).await;
    let output = output.expect("the program can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(
        stderr.contains("rowcast.toml: it cannot be read: Permission denied"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_endpoints_and_presets_is_said_with_its_place() {
    for (text, said) in [
        (
            "[[endpoint]]\npath = \"/events\"",
            "rowcast.toml:2: [[endpoint]] path: /events has another meaning",
        ),
        (
            "[[endpoint]]\npath = \"/a\"\npreset = \"topic-acton\"",
            "rowcast.toml:3: [[endpoint]] preset: there is no \"topic-acton\"",
        ),
        (
            "[[endpoint]]\npath = \"/a\"\n[[endpoint]]\npath = \"/p/{id}\"\nchannels = [\"p:{ip}\"]",
            "rowcast.toml:5: [[endpoint]] channels: \"p:{ip}\": \"ip\" is nothing that this path has; there is id, sub",
        ),
        (
            "[[endpoint]]\npath = \"/a\"\nauth = \"jwt\"",
            "rowcast.toml:3: [[endpoint]] auth: tokens are asked for, and there is no key",
        ),
        (
            "[preset.mine]\nserver.event = '{\"a\":\"{paylod}\"}'",
            "rowcast.toml:2: [preset.mine] server.event: {paylod} is nothing that an event has",
        ),
        (
            "[preset.v1]\nbase = \"default\"",
            "rowcast.toml:1: [preset.v1]: a name of lower-case letters",
        ),
    ] {
        let folder = folder(text);
        let done = rowcast(folder.path(), &["check"], &[]).await;
        assert_eq!(done.code, Some(64), "{text}");
        assert!(done.stderr.contains(said), "{text}: {}", done.stderr);
    }
}
