//! The default wire: what clients may say, what the server says, and the codes it closes with. One JSON object in one
//! WebSocket text frame; unknown fields are ignored by both sides. docs/PROTOCOL.md is the same for client authors.

mod batch;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
mod client;
mod close;
mod deflate;
mod deflated;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod presence;
mod preset;
mod row;
mod server;
mod shape;

pub(crate) use batch::Encoded;
pub(crate) use client::{ClientFrame, ClientRequest, RequestId, Secret, Since, Subscribe};
pub use close::CloseCode;
pub(crate) use deflate::{InflateError, WINDOW_BITS, inflate};
pub(crate) use presence::{PresenceAnswer, PresenceAnswers, PresenceEvent, Present};
pub(crate) use preset::Preset;
pub use preset::{
    Base, ClientSpec, DEFAULT_PRESET, PresetError, PresetSpec, Presets, RequestSpec, ServerSpec,
    Unknown,
};
pub(crate) use server::{DisconnectCode, ErrorCode, Limits, Rejected, ResetReason, ServerFrame};
pub use shape::Shape;
pub(crate) use shape::Shapes;

/// Version of the wire. Additions do not change it.
pub(crate) const PROTOCOL_VERSION: u32 = 1;
