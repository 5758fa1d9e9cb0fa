//! What several test binaries need and no user does: throw-away databases, directories and servers, and clients.
//! Helpers for one subject live in the test file of that subject.
#![allow(
    dead_code,
    reason = "compiled anew into every test binary, and none of them uses all of it"
)]
#![allow(
    unused_imports,
    unused_macros,
    reason = "the re-exports and the macro below, for the same reason"
)]

/// Tests for each database: functions that take one.
macro_rules! on_both {
    ($($name:ident)*) => {
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Database::postgres().await).await;
            })*
        }

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Database::sqlite().await).await;
            })*
        }
    };
}

pub mod database;
pub mod example;
#[cfg(feature = "sqlite")]
pub mod feed;
#[cfg(feature = "postgres")]
pub mod forwarder;
pub mod keys;
pub mod npm;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod presets;
pub mod process;
pub mod proxy;
#[cfg(feature = "sqlite")]
pub mod raw;
#[cfg(all(feature = "postgres", feature = "redis"))]
pub mod redis;
#[cfg(feature = "postgres")]
pub mod relay;
pub mod token;
pub mod wait;

pub use database::{Connection, Database};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use wait::{DEADLINE, until, within};

/// An empty directory that is removed, with all that is in it, when the value is dropped.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("rowcast-test-")
        .tempdir()
        .expect("cannot make a temporary directory")
}
