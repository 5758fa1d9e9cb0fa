//! What attackers try, one test for each that has none elsewhere; docs/SECURITY.md has the list. Each asserts what an
//! attacker sees, and that others are served meanwhile.
#![cfg(all(feature = "sqlite", feature = "postgres"))]

#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../network/authority.rs"]
mod authority;
#[path = "../support/mod.rs"]
mod support;

mod bombs;
mod floods;
mod handshakes;
mod logs;
mod names;
mod reach;
