//! rowcast behind nginx and `HAProxy`, as docs/ops has operators set them up: the files themselves, with other
//! ports, and real programs. What docs/ops says beside that is checked, too.
#![cfg(all(feature = "postgres", feature = "sqlite"))]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "tests of the network use more of it")]
#[path = "../network/authority.rs"]
mod authority;

mod addresses;
mod answers;
mod compose;
mod exactly_once;
mod fleet;
mod follower;
mod front;
mod image;
mod settings;
mod unit;
