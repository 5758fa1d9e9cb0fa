//! The feed in a real browser: headless Chromium, a page with a plain `EventSource` or `fetch`, and between it and a
//! real server a network that cuts connections. `ROWCAST_SEED=…` has the same cuts again.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod chromium;
mod front;
mod requests;
mod scene;
mod sources;
mod tokens;
