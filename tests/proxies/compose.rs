//! docs/ops/compose.yaml, as far as it can be held to something without Docker: its flags, files, addresses, times, its
//! health check, and that nothing in it is root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_norway::Value;
use tempfile::TempDir;

use crate::front::{Kind, SERVERS};
use crate::support::npm::succeed;
use crate::support::postgres::signal;
use crate::support::process::{Process, free_port};
use crate::support::{Database, temp_dir};

/// What a server needs beside its grace period, for requests under way.
const FINISH: Duration = Duration::from_secs(5);

fn compose() -> Value {
    let text = fs::read_to_string("docs/ops/compose.yaml").expect("it is there");
    let mut value: Value = serde_norway::from_str(&text).expect("it is YAML");
    // What is merged merges something itself.
    for _ in 0..2 {
        value.apply_merge().expect("what is merged are maps");
    }
    value
}

/// Services by name.
fn services() -> Vec<(String, Value)> {
    let compose = compose();
    let services = compose["services"].as_mapping().expect("services");
    let named = |(name, service): (&Value, &Value)| (text(name), service.clone());
    services.iter().map(named).collect()
}

/// The servers: name, service.
fn servers() -> Vec<(String, Value)> {
    let is_server = |service: &Value| service["command"][0] == "serve";
    let all = services().into_iter();
    all.filter(|(_, service)| is_server(service)).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        value => value.as_str().expect("a text").to_owned(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_sequence().map(Vec::as_slice).unwrap_or_default();
    values.iter().map(text).collect()
}

fn time(value: &Value) -> Duration {
    humantime::parse_duration(&text(value)).expect("a time")
}

/// What README.md has operators do first, done in a folder.
fn begun() -> TempDir {
    let readme = fs::read_to_string("docs/ops/README.md").expect("it is there");
    let block = readme
        .split("```sh\n")
        .find(|block| block.starts_with("mkdir"));
    let block = block.and_then(|block| block.split("```").next());
    let folder = temp_dir();
    let mut shell = Command::new("bash");
    shell.args(["-euc", block.expect("it says how to begin")]);
    succeed(shell.current_dir(folder.path()));
    folder
}

/// The arguments of a container, where its secrets are in this folder.
fn arguments(service: &Value, folder: &Path) -> Vec<String> {
    let secrets = format!("{}/secrets/", folder.display());
    let arguments = texts(&service["command"]).into_iter();
    arguments
        .map(|argument| argument.replace("/run/secrets/", &secrets))
        .collect()
}

/// What `rowcast config print` says of a server, with more flags.
pub fn settings_of(more: &[&str]) -> toml::Table {
    let folder = begun();
    let (_, server) = &servers()[0];
    let arguments = arguments(server, folder.path());
    let mut rowcast = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    rowcast.args(["config", "print"]).args(&arguments[1..]);
    let printed = succeed(rowcast.args(more));
    printed.parse().expect("it is TOML")
}

/// How long after its start a server may be called healthy, and the next one be restarted.
pub fn first_look() -> Duration {
    let looks = servers();
    let looks = looks
        .iter()
        .map(|(_, service)| &service["healthcheck"]["start_interval"]);
    looks.map(time).min().expect("there are servers")
}

#[test]
fn servers_are_what_the_proxies_expect() {
    let settings = settings_of(&[]);
    assert_eq!(settings["listen"].as_str(), Some("0.0.0.0:3001"));
    let url = settings["database_url"].as_str().expect("a text");
    assert_eq!(url, "postgres://rowcast:***@postgres/rowcast");

    let address = |service: &Value| text(&service["networks"]["front"]["ipv4_address"]);
    let servers = servers();
    let listen: Vec<_> = servers
        .iter()
        .map(|(_, service)| format!("{}:3001", address(service)))
        .collect();
    assert_eq!(listen, SERVERS);
    for kind in Kind::BOTH {
        for server in SERVERS {
            assert!(kind.text().contains(&format!(" {server}")), "{kind:?}");
        }
    }
    // The proxies are believed, and nobody else.
    let all = services();
    let proxies = all
        .iter()
        .filter(|(_, service)| !texts(&service["ports"]).is_empty());
    let proxies: BTreeSet<_> = proxies
        .map(|(name, service)| {
            assert_eq!(texts(&service["ports"]), ["80:80", "443:443"], "{name}");
            format!("{}/32", address(service))
        })
        .collect();
    let trusted = settings["trusted_proxy"].as_array().expect("a list");
    let trusted = trusted.iter().filter_map(|network| network.as_str());
    assert_eq!(trusted.map(str::to_owned).collect::<BTreeSet<_>>(), proxies);
    assert_eq!(proxies.len(), 2);
}

#[test]
fn every_file_exists_or_is_made_by_the_readme() {
    let folder = begun();
    let exists =
        |path: &str| Path::new("docs/ops").join(path).exists() || folder.path().join(path).exists();
    let compose = compose();
    let secrets = compose["secrets"].as_mapping().expect("secrets");
    for (name, secret) in secrets {
        let path = text(&secret["file"]);
        assert!(exists(&path), "{path}");
        let held = fs::read_to_string(folder.path().join(&path)).expect("it was made");
        assert!(held.len() > 30, "{path}");
        assert!(path.ends_with(&text(name)));
    }
    for (name, service) in services() {
        for secret in texts(&service["secrets"]) {
            assert!(secrets.contains_key(secret.as_str()), "{name}: {secret}");
        }
        for volume in texts(&service["volumes"]) {
            let from = volume.split(':').next().expect("a volume");
            if from.starts_with('.') {
                assert!(exists(from), "{name}: {from}");
                assert!(volume.ends_with(":ro"), "{name}: {volume}");
            } else {
                assert!(compose["volumes"].get(from).is_some(), "{name}: {from}");
            }
        }
        if let Some(build) = service.get("build") {
            let context = Path::new("docs/ops").join(text(build));
            assert!(context.join("Dockerfile").exists(), "{name}");
        }
    }
    // What the proxies are told to read is what README.md has put there.
    let readme = fs::read_to_string("docs/ops/README.md").expect("it is there");
    for (kind, files) in [
        (Kind::Nginx, &["fullchain.pem", "privkey.pem"][..]),
        (Kind::HaProxy, &["feed.pem"]),
    ] {
        for file in files {
            assert!(kind.text().contains(&format!("/tls/{file}")), "{file}");
            assert!(readme.contains(&format!("tls/{file}")), "{file}");
        }
    }
}

#[test]
fn nobody_is_root_and_everybody_is_bounded() {
    for (name, service) in services() {
        let user = text(&service["user"]);
        let ids: Vec<u32> = user.split(':').map(|id| id.parse().expect("ids")).collect();
        assert!(ids.iter().all(|&id| id > 0), "{name}: {user}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        let options = texts(&service["security_opt"]);
        assert_eq!(options, ["no-new-privileges:true"], "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        let limits = &service["deploy"]["resources"]["limits"];
        for limit in ["cpus", "memory"] {
            assert!(!text(&limits[limit]).is_empty(), "{name}: {limit}");
        }
        assert!(service["pids_limit"].as_u64() > Some(0), "{name}");
        assert!(service.get("privileged").is_none(), "{name}");
    }
}

#[test]
fn servers_have_the_time_and_the_files_they_need() {
    let settings = settings_of(&[]);
    let grace = settings["grace_period"].as_str().expect("a text");
    let grace = humantime::parse_duration(grace).expect("a time");
    let connections = settings["max_connections"].as_integer().expect("a number");
    for (name, service) in servers() {
        assert!(
            time(&service["stop_grace_period"]) > grace + FINISH,
            "{name}"
        );
        let files = service["ulimits"]["nofile"].as_i64().expect("a number");
        // 64 are kept for the rest.
        assert!(files >= connections + 64, "{name}: {files} files");
    }
    for (name, service) in services() {
        let health = &service["healthcheck"];
        if health.get("interval").is_some() {
            assert!(
                time(&health["timeout"]) <= time(&health["interval"]),
                "{name}"
            );
        }
    }
}

/// What README.md has operators type is understood: `rowcast` with a mistake in it ends with 64.
#[test]
fn the_readme_makes_no_mistakes() {
    let readme = fs::read_to_string("docs/ops/README.md").expect("it is there");
    let folder = begun();
    let secrets = format!("{}/secrets/", folder.path().display());
    let line = readme
        .lines()
        .find_map(|line| line.split_once(" rowcast token "));
    let (_, arguments) = line.expect("it mints a token");
    let arguments = arguments.trim_end_matches(')');
    let arguments = arguments.replace("/run/secrets/", &secrets);
    let mut rowcast = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    let token = succeed(rowcast.arg("token").args(arguments.split(' ')));
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}

/// The relay is a command of newer versions: what it is given must be among what it takes.
#[test]
fn the_relay_is_told_what_it_understands() {
    let help = |command: &[&str]| {
        let mut rowcast = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        succeed(rowcast.args(command).arg("--help"))
    };
    let relay = services().into_iter().find(|(name, _)| name == "relay");
    let (_, relay) = relay.expect("it is there");
    assert_eq!(texts(&relay["profiles"]), ["redis"]);
    let commands = help(&[]);
    if !commands
        .lines()
        .any(|line| line.trim().starts_with("relay "))
    {
        return;
    }
    let known = help(&["relay"]);
    for argument in texts(&relay["command"]).iter().skip(1) {
        let flag = argument.split('=').next().expect("a flag");
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut words = known.split(|c| !is_word(c));
        assert!(words.any(|word| word == flag), "relay has no {flag}");
    }
    assert!(help(&["serve"]).contains("ROWCAST_SOURCE"));
}

/// The server starts as the file says, and the health check tells whether it is well.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_the_truth() {
    let folder = begun();
    let database = Database::postgres().await;
    let file = folder.path().join("secrets/rowcast.toml");
    fs::remove_file(&file).expect("it was made");
    fs::write(&file, format!("database_url = \"{}\"", database.url)).expect("ours");
    let (_, service) = &servers()[0];
    let [feed, admin] = [free_port(), free_port()];
    let here = |text: String| {
        text.replace("0.0.0.0:3001", &format!("127.0.0.1:{feed}"))
            .replace("0.0.0.0:3002", &format!("127.0.0.1:{admin}"))
            .replace("/127.0.0.1/3002", &format!("/127.0.0.1/{admin}"))
            .replace("=15000", "=1000")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    command.args(arguments(service, folder.path()).into_iter().map(here));
    let start = || Process::spawn(command).expect("it starts");
    let mut server = tokio::task::block_in_place(start);

    let test = texts(&service["healthcheck"]["test"]);
    assert_eq!(test[..3], ["CMD", "bash", "-c"]);
    // What compose makes of it.
    let script = here(test[3].replace("$$", "$"));
    let is_healthy = |secrets: &str| {
        let mut check = Command::new("bash");
        check.args(["-c", &script.replace("/run/secrets/", secrets)]);
        check.output().expect("bash is here").status.success()
    };
    let secrets = format!("{}/secrets/", folder.path().display());
    assert!(is_healthy(&secrets));
    // Without the right token it is told nothing.
    let other = temp_dir();
    fs::write(other.path().join("admin-token"), "another one, long enough").expect("ours");
    assert!(!is_healthy(&format!("{}/", other.path().display())));
    signal("TERM", &[server.id()]);
    tokio::task::block_in_place(|| server.wait());
    assert!(!is_healthy(&secrets));
}
