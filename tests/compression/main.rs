//! permessage-deflate (RFC 7692): what is agreed on, what clients are sent, and what they may send. Node's and Chromium's
//! own implementations are in tests/frontends; who tries to break it, in tests/attacks.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod events;
mod handshakes;
mod messages;
