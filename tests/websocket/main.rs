//! The default wire as a client sees it: a real server in this process, a SQLite file, real sockets.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod endings;
mod handshake;
mod requests;
mod resume;
