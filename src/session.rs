//! One client, whatever the transport: its frames in, requests to the hub out. Answers come from the hub, in order
//! with the events, except refusals, which depend on nothing.

use std::sync::Arc;

use crate::hub::{Connection, FLOODING, Hub, Request, Seat, Written};
use crate::protocol::{
    ClientFrame, ClientRequest, CloseCode, ErrorCode, RequestId, ServerFrame, Shape,
};
use crate::stats::Counters;

/// A client that is connected, and counts as such until it is dropped.
pub(crate) struct Session {
    seat: Seat,
    outlet: Arc<dyn Connection>,
    counters: Arc<Counters>,
}

impl Session {
    /// Takes a client in.
    pub async fn open(hub: &Hub, outlet: Arc<dyn Connection>) -> Self {
        let seat = hub.open(Arc::clone(&outlet), Shape::WebSocket).await;
        Self {
            seat,
            outlet,
            counters: hub.counters(),
        }
    }

    /// Handles one text message. Waits while the hub has more to do than it should.
    pub async fn text(&self, text: &str) {
        match ClientFrame::parse(text) {
            Ok(frame) => self.ask(frame).await,
            Err(refusal) => self.refuse(refusal.id.as_ref(), refusal.code, &refusal.message),
        }
    }

    /// Handles one binary message.
    pub fn binary(&self) {
        self.refuse(
            None,
            ErrorCode::InvalidMessage,
            "a message is JSON in a text frame, and this is a binary frame",
        );
    }

    /// Whether the goodbye has begun: what the client says no longer matters.
    pub fn has_left(&self) -> bool {
        self.seat.has_left()
    }

    /// Gives up the client's subscriptions, before the goodbye.
    pub fn leave(&mut self) {
        self.seat.leave();
    }

    /// Ends the session of a client that asks and does not read the answers.
    pub fn flooded(&self) {
        self.counters.flooding_connections_closed.add(1);
        self.outlet.close(CloseCode::TryAgainLater, FLOODING);
    }

    async fn ask(&self, ClientFrame { id, request }: ClientFrame) {
        let connection = self.seat.connection();
        match request {
            ClientRequest::Hello { channels, since } => {
                self.seat
                    .ask(Request::Welcome {
                        connection,
                        id: id.clone(),
                    })
                    .await;
                if !channels.is_empty() {
                    self.seat
                        .ask(Request::Subscribe {
                            connection,
                            id,
                            channels,
                            since,
                        })
                        .await;
                }
            }
            ClientRequest::Subscribe { channels, since } => {
                self.seat
                    .ask(Request::Subscribe {
                        connection,
                        id,
                        channels,
                        since,
                    })
                    .await;
            }
            ClientRequest::Unsubscribe { channels } => {
                self.seat
                    .ask(Request::Unsubscribe {
                        connection,
                        id,
                        channels,
                    })
                    .await;
            }
            ClientRequest::Ping => self.seat.ask(Request::Pong { connection, id }).await,
        }
    }

    fn refuse(&self, id: Option<&RequestId>, code: ErrorCode, message: &str) {
        self.counters.client_errors.add(1);
        let frame = ServerFrame::Error {
            id,
            code,
            message,
            limit: None,
        };
        if self.outlet.reply(&frame.encode(Shape::WebSocket)) == Written::Full {
            self.flooded();
        }
    }
}
