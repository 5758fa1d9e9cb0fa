//! Close codes of the WebSocket. The number tells a client whether to come back.

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The server is going away: reconnect, to this one later or to another now.
    GoingAway = 1001,
    /// The client's frames break the WebSocket protocol: a bug of the client, do not reconnect.
    Protocol = 1002,
    /// A text frame is not UTF-8.
    NotUtf8 = 1007,
    /// A message is larger than the limit that `welcome` names.
    MessageTooBig = 1009,
    /// The client reads too slowly and its queue is full: reconnect, and resume from the last cursor it has
    /// seen.
    TryAgainLater = 1013,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }
}
