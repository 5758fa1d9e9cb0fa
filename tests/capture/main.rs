//! Capture: `rowcast attach` of the real program on tables of the user's own, plain SQL by whoever writes to them, and the
//! events that come of it.

#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod both;
#[cfg(feature = "postgres")]
mod postgres;
mod program;
#[cfg(feature = "sqlite")]
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
