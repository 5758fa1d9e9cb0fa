//! Who gets as far as the routes, from the outside: origins, addresses, limits, handshakes, TLS, signals, `rowcast check`.
#![cfg(feature = "sqlite")]

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod check;
mod handshakes;
mod limits;
mod origins;
mod signals;
mod tls;
