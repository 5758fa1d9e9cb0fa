//! rowcast turns an `events` table into a realtime feed: INSERT a row in the transaction that changes your data, and
//! every subscribed client has it, in order, over a WebSocket. Postgres or SQLite; no broker, no replication slot.
//!
//! The way of a row, left to right; imports point left:
//!
//! ```text
//! events table → source → tail → broadcaster → hub → session → http → socket
//! ```
//!
//! Most users run the binary. The library is for listening in-process ([`Broadcaster::listen`]), and for mounting the
//! WebSocket in a warp application of yours ([`routes`]).

pub mod auth;
#[cfg(any(test, feature = "bench"))]
#[doc(hidden)]
pub mod bench;
mod broadcaster;
pub mod cli;
mod commands;
pub mod config;
mod cursor;
mod draft;
mod error;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod hub;
mod limits;
mod metrics;
mod presence;
mod protocol;
mod publisher;
#[cfg(feature = "redis")]
mod relay;
mod retention;
mod server;
mod session;
#[cfg(test)]
mod simulation;
pub mod source;
mod stats;
mod tail;

pub use auth::Authenticator;
pub use broadcaster::{Broadcaster, ListenerHandle};
pub use config::Config;
pub use cursor::{CURSOR_BYTES_MAX, Cursor, CursorError};
pub use error::Error;
pub use event::{
    Audience, CHANNEL_BYTES_MAX, CHANNELS_BYTES_MAX, Channel, ChannelError, ChannelPattern,
    Channels, Event, EventId, KIND_BYTES_MAX, NewEvent,
};
pub use http::{
    EndpointAuth, EndpointError, EndpointSpec, Endpoints, Gate, NetworkOptions, OriginRule,
    PublishOptions, Site, TlsFiles, routes, routes_with,
};
pub use hub::{Hub, HubOptions};
pub use presence::PresenceOptions;
pub use protocol::{
    Base, ClientSpec, CloseCode, PresetError, PresetSpec, Presets, RequestSpec, ServerSpec, Unknown,
};
pub use retention::Retention;
pub use server::{Reload, Server};
pub use source::{DatabaseConfig, Migrate, Source};
pub use stats::Stats;
pub use tail::PollInterval;
