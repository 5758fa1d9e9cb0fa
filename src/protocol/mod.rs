//! The default wire: what clients may say, what the server says, and the codes it closes with. One JSON object in one
//! WebSocket text frame; unknown fields are ignored by both sides. docs/PROTOCOL.md is the same for client authors.

mod client;
mod close;
mod frame;
mod server;

pub(crate) use client::{ClientFrame, ClientRequest, RequestId, Since};
pub use close::CloseCode;
pub(crate) use frame::text_frame;
pub(crate) use server::{
    DisconnectCode, Encoded, ErrorCode, Limits, ResetReason, ServerFrame, encode_batch,
    encode_ephemeral,
};

/// Version of the wire. Additions do not change it.
pub(crate) const PROTOCOL_VERSION: u32 = 1;
