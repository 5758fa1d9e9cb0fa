//! A preset as it is written down, in rowcast.toml or here: what comes in, what goes out. Nothing is checked yet.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::CloseCode;

/// How the clients of an endpoint speak: `[preset.NAME]` of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PresetSpec {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// With `default`, whatever is not said here is as in the default protocol. Without it, it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The WebSocket subprotocol by which a client may ask for this preset, beside `rowcast.NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<String>,
    /// What each client is subscribed to without asking: `user:{sub}`, or `project:{projectId}` for a part of the path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// What clients say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientSpec>,
    /// What they are told: JSON texts with placeholders such as `{payload}` in them.
    pub server: ServerSpec,
    /// What `{name}` is for an event type such as `task.created`, or for its last word; `*` for all others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_names: BTreeMap<String, String>,
    /// What `{name}` is for an `updated` event in whose payload this member differs from the previous one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, String>,
    /// Close codes of its own: `unauthorized = 1008`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub close: BTreeMap<CloseCode, u16>,
}

/// What a preset builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The default protocol.
    Default,
}

/// What clients say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSpec {
    /// How they subscribe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<RequestSpec>,
    /// How they unsubscribe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<RequestSpec>,
    /// How they ask whether the server is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<RequestSpec>,
    /// What becomes of anything else.
    pub unknown: Unknown,
}

/// By what a message is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSpec {
    /// Members of the message with their values: `{ action = "subscribe" }`.
    pub r#match: BTreeMap<String, String>,
    /// The member with the channel, or with a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<String>,
}

/// What becomes of messages that are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Nothing.
    #[default]
    Ignore,
    /// They are answered with an error.
    Refuse,
}

/// What clients are told. A text of nothing leaves a message out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSpec {
    /// When they have connected; with `base = "default"`, the answer to `hello`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welcome: Option<String>,
    /// When they have subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribed: Option<String>,
    /// When they have unsubscribed, or may not receive something any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribed: Option<String>,
    /// An event. With `{channel}` in it, one for each of its channels that the client subscribes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The answer to a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pong: Option<String>,
    /// What is wrong with a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The position, after events that do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// All that was missed has been sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caught_up: Option<String>,
    /// What was missed cannot be told. Without it the connection is closed, so that the client comes back and refetches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// With each ping of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<String>,
    /// Before the server closes the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect: Option<String>,
    /// A fresh token was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_ok: Option<String>,
    /// The token is about to expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_expiring: Option<String>,
}
