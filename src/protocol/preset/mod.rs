//! Presets: how clients that were written for another server are spoken to. A preset is data, `presets.toml` has ours;
//! what it leaves out is left out, or is as in the default protocol if it says so.

mod event;
mod placeholder;
mod reader;
mod spec;
mod template;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

pub(super) use event::View;
use event::{EventScope, upper};
use placeholder::ControlScope;
pub(super) use placeholder::Of;
use reader::Rules;
pub use spec::{Base, ClientSpec, PresetSpec, RequestSpec, ServerSpec, Unknown};
use template::Template;

use super::client::{ClientFrame, Refusal};
use super::{CloseCode, ServerFrame};
use crate::event::Channels;

/// Our presets, as they are written down.
const BUILT_IN: &str = include_str!("presets.toml");

/// The preset that is spoken where none is named.
pub const DEFAULT_PRESET: &str = "default";

/// Longest name of a preset, in bytes: it is part of a header.
const NAME_BYTES_MAX: usize = 64;

/// All presets there are, by name.
#[derive(Debug, Clone)]
pub struct Presets(BTreeMap<String, Arc<Preset>>);

/// What is wrong with a preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PresetError {
    /// Where in it: `server.event`. Nothing, where it is about the whole.
    pub key: String,
    /// What is wrong there.
    pub message: String,
}

impl PresetError {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// Ours, read once.
static OURS: LazyLock<BTreeMap<String, PresetSpec>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        preset: BTreeMap<String, PresetSpec>,
    }
    let file: File = toml::from_str(BUILT_IN).expect("a test reads them");
    file.preset
});

impl Default for Presets {
    /// Ours alone.
    fn default() -> Self {
        let ours = OURS.iter().map(|(name, spec)| {
            let preset = Preset::new(name, spec).expect("a test reads them");
            (name.clone(), Arc::new(preset))
        });
        Self(ours.collect())
    }
}

impl Presets {
    /// Adds one, in place of ours if it has the name of one.
    ///
    /// # Errors
    /// When something is wrong with it; the error says where.
    pub fn add(&mut self, name: &str, spec: &PresetSpec) -> Result<(), PresetError> {
        let preset = Preset::new(name, spec)?;
        let taken = |known: &&Arc<Preset>| {
            known.name != preset.name
                && known.subprotocol.is_some()
                && known.subprotocol == preset.subprotocol
        };
        if let Some(other) = self.0.values().find(taken) {
            let text = format!("the preset {:?} has it already", other.name);
            return Err(PresetError::new("subprotocol", text));
        }
        self.0.insert(name.to_owned(), Arc::new(preset));
        Ok(())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// One of ours as it is written down, to begin one's own with.
    #[must_use]
    pub fn source(name: &str) -> Option<String> {
        let head = format!("[preset.{name}");
        let mut text = String::new();
        let mut is_in = false;
        for line in BUILT_IN.lines() {
            if line.starts_with('[') {
                is_in = line
                    .strip_prefix(&*head)
                    .is_some_and(|rest| rest.starts_with([']', '.']));
            }
            if is_in {
                text.push_str(line);
                text.push('\n');
            }
        }
        (!text.is_empty()).then(|| format!("{}\n", text.trim_end()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Preset>> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Preset>> {
        self.0.values()
    }
}

/// One preset, ready for use.
#[derive(Debug)]
pub(crate) struct Preset {
    pub name: String,
    pub subprotocol: Option<String>,
    /// Templates of what clients are subscribed to without asking.
    pub channels: Vec<String>,
    /// None: as in the default protocol.
    rules: Option<Rules>,
    outgoing: [Outgoing; Of::COUNT],
    names: Names,
    close: BTreeMap<CloseCode, u16>,
}

/// What becomes of a frame.
#[derive(Debug)]
enum Outgoing {
    /// It is as in the default protocol.
    Default,
    Omitted,
    Template(Template),
}

/// What a preset calls events.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_type: BTreeMap<String, String>,
    by_change: BTreeMap<String, String>,
}

impl Names {
    /// What an event of this type is called.
    fn of_type(&self, whole: &str, kind: Option<&str>, verb: &str) -> String {
        let named = self.by_type.get(whole).or_else(|| self.by_type.get(verb));
        let Some(pattern) = named.or_else(|| self.by_type.get("*")) else {
            return whole.to_owned();
        };
        if pattern.contains("{kind}") && kind.is_none() {
            return whole.to_owned();
        }
        pattern
            .replace("{kind}", kind.unwrap_or_default())
            .replace("{verb}", verb)
            .replace("{VERB}", &upper(verb))
            .replace("{type}", whole)
    }

    /// What a change is called in which any such member has changed.
    fn of_change(&self, has_changed: impl Fn(&str) -> bool) -> Option<&str> {
        let mut all = self.by_change.iter();
        all.find(|(member, _)| has_changed(member))
            .map(|(_, name)| &**name)
    }
}

impl Preset {
    fn new(name: &str, spec: &PresetSpec) -> Result<Self, PresetError> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > NAME_BYTES_MAX
            || !name.chars().all(is_word)
            || name == "v1"
        {
            return Err(PresetError::new(
                "",
                "a name of lower-case letters, digits and hyphens, other than v1",
            ));
        }
        if let Some(subprotocol) = &spec.subprotocol
            && (!is_token(subprotocol) || subprotocol.starts_with("rowcast."))
        {
            let text = "a word such as cloudevents.json, which does not begin with `rowcast.`";
            return Err(PresetError::new("subprotocol", text));
        }
        for (code, &number) in &spec.close {
            if !matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                let key = format!("close.{}", code.name());
                let text = format!(
                    "{number} is no code that a server may close with; they are 1000-1003, 1007-1014 and 3000-4999"
                );
                return Err(PresetError::new(key, text));
            }
        }
        let is_default = spec.base.is_some();
        let rules = match &spec.client {
            None if is_default => None,
            client => Some(
                Rules::new(&client.clone().unwrap_or_default())
                    .map_err(|(key, text)| PresetError::new(key, text))?,
            ),
        };
        let server = &spec.server;
        let one = |text: &Option<String>, of: Of| match text.as_deref() {
            None if is_default => Ok(Outgoing::Default),
            None | Some("") => Ok(Outgoing::Omitted),
            Some(text) => Template::parse(text, of)
                .map(Outgoing::Template)
                .map_err(|text| PresetError::new(format!("server.{}", of.name()), text)),
        };
        let outgoing = [
            one(&server.event, Of::Event)?,
            one(&server.welcome, Of::Welcome)?,
            one(&server.subscribed, Of::Subscribed)?,
            one(&server.unsubscribed, Of::Unsubscribed)?,
            one(&server.pong, Of::Pong)?,
            one(&server.error, Of::Error)?,
            one(&server.cursor, Of::Cursor)?,
            one(&server.caught_up, Of::CaughtUp)?,
            one(&server.reset, Of::Reset)?,
            one(&server.heartbeat, Of::Heartbeat)?,
            one(&server.disconnect, Of::Disconnect)?,
            one(&server.auth_ok, Of::AuthOk)?,
            one(&server.auth_expiring, Of::AuthExpiring)?,
            // Whoever asks for it speaks the default protocol.
            one(&None, Of::Presence)?,
        ];
        if matches!(outgoing[Of::Event as usize], Outgoing::Omitted) {
            let text = "is missing: what is an event to look like? `rowcast config preset user-stream` shows one";
            return Err(PresetError::new("server.event", text));
        }
        Ok(Self {
            name: name.to_owned(),
            subprotocol: spec.subprotocol.clone(),
            channels: spec.channels.clone(),
            rules,
            outgoing,
            names: Names {
                by_type: spec.event_names.clone(),
                by_change: spec.changed.clone(),
            },
            close: spec.close.clone(),
        })
    }

    /// Whether it is the default protocol, to the letter.
    pub fn is_plain(&self) -> bool {
        let mut outgoing = self.outgoing.iter();
        self.rules.is_none()
            && self.close.is_empty()
            && outgoing.all(|outgoing| matches!(outgoing, Outgoing::Default))
    }

    /// Whether a client can say who it is after the handshake.
    pub fn has_hello(&self) -> bool {
        self.rules.is_none()
    }

    /// Whether a client can subscribe by a message.
    pub fn has_subscribe(&self) -> bool {
        self.rules.as_ref().is_none_or(Rules::has_subscribe)
    }

    /// Whether clients understand that they have to refetch; otherwise they are closed.
    pub fn has_reset(&self) -> bool {
        !matches!(self.outgoing[Of::Reset as usize], Outgoing::Omitted)
    }

    /// The number to close with.
    pub fn close_number(&self, code: CloseCode) -> u16 {
        self.close
            .get(&code)
            .copied()
            .unwrap_or_else(|| code.number())
    }

    /// Reads a message of a client. None: nothing comes of it.
    pub fn read(&self, text: &str) -> Result<Option<ClientFrame>, Refusal> {
        match &self.rules {
            None => ClientFrame::parse(text).map(Some),
            Some(rules) => rules.read(text),
        }
    }

    /// Calls `send` with the JSON of each message that makes an event, and with the channel it is about, if it is about
    /// one. Gives whether events are as in the default protocol, and `send` was not called.
    pub(super) fn event(
        &self,
        view: &View<'_>,
        channels: &Channels,
        cursor: Option<&str>,
        mut send: impl FnMut(Option<&str>, &[u8]),
    ) -> bool {
        let template = match &self.outgoing[Of::Event as usize] {
            Outgoing::Default => return true,
            Outgoing::Omitted => return false,
            Outgoing::Template(template) => template,
        };
        let mut scope = EventScope::new(view, &self.names, channels, cursor);
        let mut json = Vec::new();
        if template.is_per_channel() {
            for channel in channels.iter() {
                scope.for_channel(channel);
                json.clear();
                template.render(&scope, &mut json);
                send(Some(channel), &json);
            }
        } else {
            template.render(&scope, &mut json);
            send(None, &json);
        }
        false
    }

    /// The same for any other frame.
    pub fn control(&self, frame: &ServerFrame<'_>, send: &mut dyn FnMut(&[u8])) -> bool {
        match &self.outgoing[frame.of() as usize] {
            Outgoing::Default => return true,
            Outgoing::Omitted => {}
            Outgoing::Template(template) => {
                let mut scope = ControlScope::new(frame);
                let mut send = |scope: &ControlScope<'_>| {
                    let mut json = Vec::new();
                    template.render(scope, &mut json);
                    send(&json);
                };
                match frame.channels().filter(|_| template.is_per_channel()) {
                    None => send(&scope),
                    Some(channels) => {
                        for channel in channels {
                            scope.for_channel(channel);
                            send(&scope);
                        }
                    }
                }
            }
        }
        if let ServerFrame::Subscribed { id, rejected, .. } = frame {
            for rejected in *rejected {
                let message = format!("{}: {}", rejected.channel, rejected.message);
                let error = ServerFrame::Error {
                    id: *id,
                    code: rejected.code,
                    message: &message,
                    limit: None,
                    retry_after_ms: None,
                };
                self.control(&error, send);
            }
        }
        false
    }

    /// The position alone.
    pub fn cursor(&self, cursor: &str) -> Option<Vec<u8>> {
        match &self.outgoing[Of::Cursor as usize] {
            Outgoing::Default => None,
            Outgoing::Omitted => Some(Vec::new()),
            Outgoing::Template(template) => {
                let mut json = Vec::new();
                template.render(&ControlScope::of_cursor(cursor), &mut json);
                Some(json)
            }
        }
    }
}

/// Whether a text may be a subprotocol (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(is_token_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_good_and_one_of_them_is_the_default() {
        let presets = Presets::default();
        let names: Vec<_> = presets.names().collect();
        assert_eq!(
            names,
            [
                "cloudevents",
                "default",
                "elements",
                "project-path",
                "room-action",
                "topic-action",
                "user-stream"
            ]
        );
        for preset in presets.all() {
            assert_eq!(preset.is_plain(), preset.name == DEFAULT_PRESET);
            let source = Presets::source(&preset.name).expect("it is ours");
            let table: toml::Table = source.parse().expect("what is printed can be read");
            let spec = table["preset"][&preset.name].clone();
            let spec: PresetSpec = spec.try_into().expect("the same");
            assert_eq!(&spec, &OURS[&preset.name]);
        }
        assert_eq!(Presets::source("elem"), None);
    }

    fn wrong(change: impl FnOnce(&mut PresetSpec)) -> String {
        let mut spec = OURS["topic-action"].clone();
        change(&mut spec);
        Presets::default()
            .add("mine", &spec)
            .expect_err("it is wrong")
            .to_string()
    }

    #[test]
    fn what_is_wrong_with_a_preset_is_said_with_its_key() {
        let event = |text: &str| wrong(|spec| spec.server.event = Some(text.to_owned()));
        assert!(event("{").starts_with("server.event: EOF"), "not JSON");
        assert!(event("[]").contains("is a JSON object"));
        assert!(
            event(r#"{"a":"{entityid}"}"#)
                .contains("{entityid} is nothing that an event has; it has id, type")
        );
        assert!(event(r#"{"a":"{id"}"#).contains("each { needs its }"));
        assert!(event(r#"{"a":"x {id?}"}"#).contains("stand alone"));
        assert!(event(r#"{"a":"{id|json}"}"#).contains("after | there is `text`"));
        assert!(event(r#"{"a":"{channel.0}"}"#).contains("is nothing that an event has"));
        assert!(wrong(|spec| spec.server.event = None).starts_with("server.event: is missing"));
        let pong = wrong(|spec| spec.server.pong = Some(r#"{"a":"{payload}"}"#.to_owned()));
        assert_eq!(
            pong,
            "server.pong: {payload} is nothing that pong has; it has id, cursor, now"
        );
        let close = wrong(|spec| _ = spec.close.insert(CloseCode::Unauthorized, 1006));
        assert!(close.starts_with("close.unauthorized: 1006 is no code"));
        let client = |change: fn(&mut ClientSpec)| {
            wrong(|spec| change(spec.client.as_mut().expect("it has one")))
        };
        let subscribe = client(|client| {
            client.subscribe = Some(RequestSpec::default());
        });
        assert!(subscribe.starts_with("client.subscribe: `match` is empty"));
        let no_channels = client(|client| {
            client.subscribe.as_mut().expect("it has one").channels = None;
        });
        assert!(no_channels.starts_with("client.subscribe: `channels` is missing"));
        let subprotocol = wrong(|spec| spec.subprotocol = Some("cloudevents.json".to_owned()));
        assert!(subprotocol.contains("\"cloudevents\" has it already"));
        for name in ["", "v1", "Mine", "a b", "bearer.x"] {
            let error = Presets::default().add(name, &OURS["elements"]);
            assert!(error.is_err(), "{name:?}");
        }
    }
}
