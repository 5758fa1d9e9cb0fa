//! Several servers on one Postgres, the real program in processes of their own, which share nothing but its tables. They are started
//! at once, killed, stopped and started again, and clients go from one to another.
//!
//! Tests that take long can be longer, and say what they have measured: `ROWCAST_FLEET_CLIENTS=2000 ROWCAST_FLEET_SECONDS=300
//! ROWCAST_FLEET_PEACE_MS=4000 cargo test --release --test fleet restarts -- --nocapture`, where servers are left in peace for so long
//! between two restarts; and `… relays -- --nocapture --test-threads 1`.
#![cfg(all(feature = "postgres", feature = "sqlite"))]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod moves;
#[cfg(feature = "redis")]
mod relays;
mod restarts;
mod servers;
mod start;
mod writers;
