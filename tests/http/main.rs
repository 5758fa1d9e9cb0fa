//! The feed over plain HTTP: server-sent events, requests that wait, the present position.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod sse;
