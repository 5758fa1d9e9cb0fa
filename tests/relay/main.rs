//! Relays on a real Postgres and a real Redis: whatever becomes of either, of the leader, or of a stand-by, each committed
//! event is in the stream once and in order. What clients notice of it is in tests/fleet.
#![cfg(all(feature = "postgres", feature = "sqlite", feature = "redis"))]

#[path = "../support/mod.rs"]
mod support;

mod databases;
mod leaders;
mod listener;
mod scene;
mod streams;
mod writers;
