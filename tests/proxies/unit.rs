//! docs/ops/rowcast.service: what systemd says to it, and whether its times fit those of the program.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::compose::settings_of;
use crate::support::npm::succeed;
use crate::support::temp_dir;

fn unit() -> String {
    fs::read_to_string("docs/ops/rowcast.service").expect("it is there")
}

fn time(name: &str) -> Duration {
    let unit = unit();
    let value = unit.lines().find_map(|line| line.strip_prefix(name));
    humantime::parse_duration(value.expect("it is there")).expect("a time")
}

#[test]
fn systemd_has_nothing_to_say_to_the_unit() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("not looked at: there is no systemd-analyze here");
        return;
    }
    let folder = temp_dir();
    let file = folder.path().join("rowcast.service");
    let here = unit().replace("/usr/local/bin/rowcast", env!("CARGO_BIN_EXE_rowcast"));
    fs::write(&file, here).expect("the folder is ours");
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.arg("verify").arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let of_the_unit: Vec<_> = said
        .lines()
        .filter(|line| line.contains("rowcast.service"))
        .collect();
    assert!(of_the_unit.is_empty(), "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn its_times_are_longer_than_those_of_the_program() {
    let settings = settings_of(&[]);
    let grace = settings["grace_period"].as_str().expect("a text");
    let grace = humantime::parse_duration(grace).expect("a time");
    assert!(time("TimeoutStopSec=") > grace + Duration::from_secs(5));
}

#[test]
fn its_variables_are_flags() {
    let mut rowcast = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    let help = succeed(rowcast.args(["serve", "--help"]));
    let unit = unit();
    let variables = unit.split("Environment=").skip(1);
    let names: Vec<_> = variables
        .filter_map(|rest| rest.split('=').next())
        .collect();
    assert!(names.len() > 1, "{names:?}");
    for name in names {
        assert!(help.contains(&format!("env: {name}")), "{name}");
    }
}
