//! Who may receive what, and for how long: tokens on every transport, grants, fresh tokens, expiry, pings, limits of
//! messages.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod grants;
mod lifetime;
mod program;
mod transports;
