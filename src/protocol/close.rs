//! Close codes of the WebSocket. The number tells a client whether to come back.

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The client's frames break the WebSocket protocol: a bug of the client, do not reconnect.
    Protocol = 1002,
    /// A text frame is not UTF-8.
    NotUtf8 = 1007,
    /// A message is larger than the limit that `welcome` names.
    MessageTooBig = 1009,
    /// The server is being restarted: reconnect, after the time that the `disconnect` frame before it names.
    ServiceRestart = 1012,
    /// The client reads too slowly and its queue is full: reconnect, and resume from the last cursor it has
    /// seen.
    TryAgainLater = 1013,
    /// No token, or one that is not accepted or has expired: do not reconnect without another one.
    Unauthorized = 4001,
    /// The client said nothing for two intervals of pings: reconnect.
    HeartbeatMissed = 4408,
    /// The client, or its user or address, does more than a limit allows: reconnect later.
    RateLimited = 4429,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }
}
