//! The time-outs of the proxies, read from their files, against those of rowcast: what is idle but well is never cut.

use std::time::Duration;

use crate::compose::{first_look, settings_of};
use crate::front::Kind;

/// A stream of events says something every 15 s at least, docs/PROTOCOL.md has it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How long a proxy bears that nothing comes from a server, or from a client.
pub fn silences(kind: Kind) -> Vec<Duration> {
    let names: &[&str] = match kind {
        Kind::Nginx => &["proxy_read_timeout", "proxy_send_timeout"],
        Kind::HaProxy => &["timeout client", "timeout server", "timeout tunnel"],
    };
    names.iter().map(|name| time(kind, name)).collect()
}

/// The time that a line of the file says. There is one such line.
fn time(kind: Kind, name: &str) -> Duration {
    let text = kind.text();
    let mut said = text.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix(name)?.strip_prefix(' ')?;
        Some(rest.trim_end_matches(';').to_owned())
    });
    let value = said.next().unwrap_or_else(|| panic!("{kind:?}: no {name}"));
    assert_eq!(said.next(), None, "{kind:?}: {name} twice");
    humantime::parse_duration(&value).unwrap_or_else(|error| panic!("{name} {value}: {error}"))
}

fn setting(name: &str) -> Duration {
    let settings = settings_of(&[]);
    let value = settings[name].as_str().expect("a text");
    humantime::parse_duration(value).expect("a time")
}

#[test]
fn what_is_idle_outlives_the_proxy() {
    let ping = setting("ping_interval");
    for kind in Kind::BOTH {
        for silence in silences(kind) {
            // One that was late, or lost, is no reason either.
            assert!(
                silence > 2 * ping,
                "{kind:?}: {silence:?}, pings every {ping:?}"
            );
            assert!(silence > 2 * SIGN_OF_LIFE, "{kind:?}: {silence:?}");
        }
    }
}

#[test]
fn proxies_let_go_of_idle_connections_before_rowcast_does() {
    let rowcast = setting("handshake_timeout");
    let text = Kind::Nginx.text();
    let upstream = text
        .split("upstream rowcast {")
        .nth(1)
        .expect("it is there");
    let upstream = upstream.split('}').next().expect("it ends");
    assert!(upstream.contains("keepalive "), "{upstream}");
    assert!(time(Kind::Nginx, "keepalive_timeout") < rowcast);
    let text = Kind::HaProxy.text();
    let purge = text.split("pool-purge-delay ").nth(1).expect("it is there");
    let purge = purge.split_whitespace().next().expect("a time");
    // It closes half of them each time, and the rest the next.
    assert!(2 * humantime::parse_duration(purge).expect("a time") < rowcast);
    for trap in ["option http-server-close\n", "option httpclose\n"] {
        assert!(!text.contains(&format!("    {trap}")), "{trap}");
    }
}

#[test]
fn a_server_that_is_back_is_used_before_the_next_one_goes() {
    let text = Kind::Nginx.text();
    let out = text.split("fail_timeout=").nth(1).expect("it is there");
    let out = out.split([';', ' ']).next().expect("a time");
    let out = humantime::parse_duration(out).expect("a time");
    assert!(out <= first_look());
    let text = Kind::HaProxy.text();
    let look = text.split(" inter ").nth(1).expect("it is there");
    let look = look.split_whitespace().next().expect("a time");
    assert!(humantime::parse_duration(look).expect("a time") <= first_look());
}
