//! What looks like the same database and is another, or looks like another and is the same: a standby, one promoted
//! without the last of the log, a crash that forgets commits, a restored dump, a logical replica, a table or a sequence
//! set back, a clock that jumps. Whatever it is: what is there arrives once, and nobody goes on as if nothing were missing.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "postgres")]
mod crash;
#[cfg(feature = "postgres")]
mod failover;
#[cfg(feature = "postgres")]
mod scene;
