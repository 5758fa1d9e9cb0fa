//! What clients of a preset say, read by its rules.

use serde_json::{Map, Value};

use super::spec::{ClientSpec, RequestSpec, Unknown};
use crate::protocol::ErrorCode;
use crate::protocol::client::{
    ClientFrame, ClientRequest, Refusal, Subscribe, channels_in, request_id, since_in,
};

/// By what messages are known.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    unknown: Unknown,
}

#[derive(Debug)]
struct Rule {
    ask: Ask,
    members: Vec<(String, String)>,
    channels: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Subscribe,
    Unsubscribe,
    Ping,
}

impl Rules {
    /// Checks what is written down. The error says of which key it is.
    pub fn new(spec: &ClientSpec) -> Result<Self, (&'static str, String)> {
        let rule = |ask, key, spec: &Option<RequestSpec>| {
            let Some(RequestSpec { r#match, channels }) = spec else {
                return Ok(None);
            };
            if r#match.is_empty() {
                let text = "`match` is empty; name a member by which the message is known: { action = \"subscribe\" }";
                return Err((key, text.to_owned()));
            }
            match (ask, channels) {
                (Ask::Ping, Some(_)) => return Err((key, "a ping has no `channels`".to_owned())),
                (Ask::Subscribe | Ask::Unsubscribe, None) => {
                    let text = "`channels` is missing; it names the member with the channels";
                    return Err((key, text.to_owned()));
                }
                _ => {}
            }
            Ok(Some(Rule {
                ask,
                members: r#match.clone().into_iter().collect(),
                channels: channels.clone(),
            }))
        };
        let rules = [
            rule(Ask::Subscribe, "client.subscribe", &spec.subscribe)?,
            rule(Ask::Unsubscribe, "client.unsubscribe", &spec.unsubscribe)?,
            rule(Ask::Ping, "client.ping", &spec.ping)?,
        ];
        Ok(Self {
            rules: rules.into_iter().flatten().collect(),
            unknown: spec.unknown,
        })
    }

    /// Whether a client can subscribe by a message.
    pub fn has_subscribe(&self) -> bool {
        self.rules.iter().any(|rule| rule.ask == Ask::Subscribe)
    }

    /// Reads a message. None: nothing comes of it.
    pub fn read(&self, text: &str) -> Result<Option<ClientFrame>, Refusal> {
        if self.rules.is_empty() && self.unknown == Unknown::Ignore {
            return Ok(None);
        }
        let refuse = |message| Refusal {
            id: None,
            code: ErrorCode::InvalidMessage,
            message,
        };
        let members: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| refuse(format!("a message is a JSON object: {error}")))?;
        let is_meant = |rule: &&Rule| {
            let mut wanted = rule.members.iter();
            wanted.all(|(key, value)| members.get(key).is_some_and(|found| found == value))
        };
        let Some(rule) = self.rules.iter().find(is_meant) else {
            return match self.unknown {
                Unknown::Ignore => Ok(None),
                Unknown::Refuse => Err(refuse(format!(
                    "a message has {}",
                    self.all().join(", or ")
                ))),
            };
        };
        let id = request_id(&members).unwrap_or_default();
        let refuse = |(code, message)| Refusal {
            id: id.clone(),
            code,
            message,
        };
        let channels = match &rule.channels {
            Some(key) => channels_in(&members, key, true, true).map_err(refuse)?,
            None => Vec::new(),
        };
        let request = match rule.ask {
            Ask::Ping => ClientRequest::Ping,
            Ask::Unsubscribe => ClientRequest::Unsubscribe { channels },
            Ask::Subscribe => ClientRequest::Subscribe(Subscribe {
                channels,
                // Their authors know no positions; whoever adds one is understood.
                since: since_in(&members).map_err(refuse)?,
                tokens: Vec::new(),
                presence: false,
            }),
        };
        Ok(Some(ClientFrame { id, request }))
    }

    /// What messages are known by, for those who write one.
    fn all(&self) -> Vec<String> {
        let one = |(key, value): &(String, String)| format!("\"{key}\": \"{value}\"");
        let rule = |rule: &Rule| {
            let mut parts: Vec<_> = rule.members.iter().map(one).collect();
            parts.extend(rule.channels.iter().map(|key| format!("\"{key}\"")));
            parts.join(" and ")
        };
        self.rules.iter().map(rule).collect()
    }
}
