//! `Endpoint`: a path at which clients of a preset connect, what it subscribes them to, and whether it asks for tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use warp::http::StatusCode;

use super::gate::TOKEN_COOKIE;
use super::problem;
use super::query::{Query, Refusal};
use crate::auth::{GrantTemplate, is_part};
use crate::protocol::{DEFAULT_PRESET, Preset, Presets, Shape, Since};
use crate::session::Terms;

/// Paths that have another meaning.
const TAKEN: &[&str] = &[
    "/",
    "/console",
    "/console/status",
    "/console/connections",
    "/sse",
    "/events",
    "/broadcast",
    "/cursor",
    "/healthz",
    "/readyz",
    "/api/v1/ws/stats",
];

/// Where the default protocol is spoken, unless something else is.
const DEFAULT_PATH: &str = "/ws";

/// A path at which clients connect: `[[endpoint]]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The path, with a name in braces for a part that differs: `/api/v1/projects/{projectId}/ws`.
    pub path: String,
    /// How its clients speak: the name of a preset.
    #[serde(default = "default_preset")]
    pub preset: String,
    /// Whether clients need a token. As the whole server, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<EndpointAuth>,
    /// What they are subscribed to without asking, in place of what the preset says: `project:{projectId}`, `user:{sub}`.
    /// What names a part of the path has to be granted; what does not, is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// What they may subscribe to besides what their tokens grant: `team:{sub}`, or `announcements`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<String>,
    /// The cookie that has the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

fn default_preset() -> String {
    DEFAULT_PRESET.to_owned()
}

/// Whether an endpoint asks for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointAuth {
    /// It does.
    Jwt,
    /// Anybody may connect, and may receive what the endpoint's `channels` and `grant` name, and nothing else.
    None,
}

/// What is wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct EndpointError {
    /// Which of them, from 0.
    pub number: usize,
    /// Where in it.
    pub key: &'static str,
    /// What is wrong there.
    pub message: String,
}

/// All endpoints of a server, that of the default protocol among them.
#[derive(Debug, Clone)]
pub struct Endpoints(Arc<[Arc<Endpoint>]>);

impl Default for Endpoints {
    /// `/ws`, where the default protocol is spoken.
    fn default() -> Self {
        Self([Arc::new(Endpoint::default())].into())
    }
}

impl Endpoints {
    /// Checks what is written down. `asks` is whether the server asks for tokens.
    ///
    /// # Errors
    /// The first that is not good.
    pub fn new(
        specs: &[EndpointSpec],
        presets: &Presets,
        asks: bool,
    ) -> Result<Self, EndpointError> {
        let mut all: Vec<Arc<Endpoint>> = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            let error = |(key, message)| EndpointError {
                number,
                key,
                message,
            };
            let endpoint = Endpoint::new(spec, presets, asks).map_err(error)?;
            if all.iter().any(|other| other.is_same_path(&endpoint)) {
                let text = format!("{} is there already", spec.path);
                return Err(error(("path", text)));
            }
            all.push(Arc::new(endpoint));
        }
        let default = Endpoint::default();
        if !all.iter().any(|other| other.is_same_path(&default)) {
            all.push(Arc::new(default));
        }
        // What is written out comes before what differs.
        all.sort_by_key(|endpoint| endpoint.names().count());
        Ok(Self(all.into()))
    }

    /// The endpoint of a path, and what the path has for its names.
    pub(super) fn find(&self, path: &str) -> Option<(&Arc<Endpoint>, Vec<String>)> {
        let path = path.strip_suffix('/').unwrap_or(path);
        self.0
            .iter()
            .find_map(|endpoint| Some((endpoint, endpoint.matches(path)?)))
    }

    /// The paths and their presets, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|endpoint| (&*endpoint.path, &*endpoint.preset))
    }
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    path: String,
    segments: Vec<Segment>,
    pub preset: String,
    /// Whether it asks nobody for a token.
    pub is_open: bool,
    /// In place of those of the preset.
    channels: Option<Vec<GrantTemplate>>,
    grants: Vec<GrantTemplate>,
    pub cookie: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Name(String),
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            segments: vec![Segment::Text(DEFAULT_PATH[1..].to_owned())],
            preset: default_preset(),
            is_open: false,
            channels: None,
            grants: Vec::new(),
            cookie: TOKEN_COOKIE.to_owned(),
        }
    }
}

impl Endpoint {
    fn new(
        spec: &EndpointSpec,
        presets: &Presets,
        asks: bool,
    ) -> Result<Self, (&'static str, String)> {
        let segments = segments(&spec.path).map_err(|text| ("path", text))?;
        let Some(preset) = presets.get(&spec.preset) else {
            let all: Vec<_> = presets.names().collect();
            let text = format!(
                "there is no {:?}; there are {}",
                spec.preset,
                all.join(", ")
            );
            return Err(("preset", text));
        };
        if spec.auth == Some(EndpointAuth::Jwt) && !asks {
            let text = "tokens are asked for, and there is no key: set jwt_secret_file, jwt_public_key_file or jwks_url";
            return Err(("auth", text.to_owned()));
        }
        let endpoint = Self {
            path: spec.path.clone(),
            segments,
            preset: spec.preset.clone(),
            is_open: spec.auth == Some(EndpointAuth::None),
            channels: None,
            grants: Vec::new(),
            cookie: spec.cookie.clone().unwrap_or(TOKEN_COOKIE.to_owned()),
        };
        let own = spec
            .channels
            .as_ref()
            .map(|texts| endpoint.templates(texts));
        let channels = own.transpose().map_err(|text| ("channels", text))?;
        // They have to make sense here, whether they stand here or there.
        let of_preset = endpoint.templates(&preset.channels);
        if channels.is_none() {
            of_preset.map_err(|text| ("path", format!("of preset {:?}: {text}", spec.preset)))?;
        }
        let grants = endpoint
            .templates(&spec.grant)
            .map_err(|text| ("grant", text))?;
        Ok(Self {
            channels,
            grants,
            ..endpoint
        })
    }

    /// Reads templates that name `sub` or parts of the path.
    fn templates(&self, texts: &[String]) -> Result<Vec<GrantTemplate>, String> {
        let read = |text: &String| {
            let template = GrantTemplate::parse(text).map_err(|error| error.to_string())?;
            for name in template.claims() {
                if name == "sub" && self.is_open {
                    return Err(format!("{text:?}: with auth = \"none\" nobody is a user"));
                }
                if name != "sub" && !self.names().any(|known| known == name) {
                    let names: BTreeSet<_> = self.names().chain(["sub"]).collect();
                    let names: Vec<_> = names.into_iter().collect();
                    return Err(format!(
                        "{text:?}: {name:?} is nothing that this path has; there is {}",
                        names.join(", ")
                    ));
                }
            }
            Ok(template)
        };
        texts.iter().map(read).collect()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Name(name) => Some(&**name),
        })
    }

    /// Whether both match the same paths.
    fn is_same_path(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Text(a), Segment::Text(b)) => a == b,
            (Segment::Name(_), Segment::Name(_)) => true,
            _ => false,
        };
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }

    /// What a path has for the names, if it is this endpoint's.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        if parts.len() != self.segments.len() {
            return None;
        }
        let mut values = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            match segment {
                Segment::Text(text) if text == part => {}
                Segment::Text(_) => return None,
                // What is not UTF-8 becomes something that is no part of a name.
                Segment::Name(_) => {
                    values.push(percent_decode_str(part).decode_utf8_lossy().into_owned());
                }
            }
        }
        Some(values)
    }

    /// Whether its clients get nothing that they do not ask for.
    pub fn is_plain(&self) -> bool {
        self.preset == DEFAULT_PRESET && self.channels.is_none() && self.grants.is_empty()
    }

    /// What it says of a client that comes with these parts of the path and this query, and speaks in this shape.
    pub fn terms(
        &self,
        values: Vec<String>,
        shape: &Shape,
        query: &str,
        channels_max: usize,
    ) -> Result<Terms, Refusal> {
        let refuse = |message: &str| {
            Refusal::from(problem(StatusCode::BAD_REQUEST, "invalid_request", message))
        };
        let mut path = Map::new();
        for (name, value) in self.names().zip(values) {
            if !is_part(&value) {
                let text = format!(
                    "{name} in the path is not the id of anything: letters, digits and _ . @ / - make one"
                );
                return Err(refuse(&text));
            }
            path.insert(name.to_owned(), value.into());
        }
        let of_preset = || {
            let texts = shape.preset().map_or(&[][..], |preset| &preset.channels);
            let text = |text| {
                format!("this preset is about something that this path does not name: {text}")
            };
            self.templates(texts).map_err(|error| refuse(&text(error)))
        };
        let channels = match &self.channels {
            Some(channels) => channels.clone(),
            None => of_preset()?,
        };
        let mut grants = self.grants.clone();
        // Whoever set up the endpoint grants what it names, itself or by its preset. What the client names with the path, or
        // by a preset that it has chosen, is the client's word.
        let is_own = |preset: &Preset| preset.name == self.preset;
        let is_named = self.channels.is_some() || shape.preset().is_some_and(is_own);
        let is_implied = |template: &&GrantTemplate| {
            is_named && (self.is_open || template.claims().all(|name| name == "sub"))
        };
        grants.extend(channels.iter().filter(is_implied).cloned());
        let (mut asked, mut since) = (Vec::new(), Since::Now);
        if !shape.has_subscribe() {
            let query = Query::parse(query);
            if query.all("channels").next().is_some() {
                asked = query.channels(channels_max)?;
            }
            since = query.one_since("since")?;
            if channels.is_empty() && asked.is_empty() {
                return Err(refuse(
                    "name at least one channel in the URL, for example ?channels=tasks,messages:42",
                ));
            }
        }
        Ok(Terms {
            shape: shape.clone(),
            channels,
            grants,
            path,
            asked,
            since,
        })
    }
}

fn segments(path: &str) -> Result<Vec<Segment>, String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("{path:?} does not begin with /, as in /ws"));
    };
    if TAKEN.contains(&path) {
        return Err(format!(
            "{path} has another meaning here; choose one such as /feed/ws"
        ));
    }
    let mut names = BTreeSet::new();
    let segment = |text: &str| {
        if text.is_empty() {
            return Err(format!("{path:?} has a part of nothing between two /"));
        }
        if let Some(name) = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) || name == "sub" {
                return Err(format!(
                    "{path:?}: {{{name}}} is a name of letters, digits and _, other than sub"
                ));
            }
            if !names.insert(name.to_owned()) {
                return Err(format!("{path:?} has {{{name}}} twice"));
            }
            return Ok(Segment::Name(name.to_owned()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c);
        if !text.chars().all(is_plain) {
            return Err(format!(
                "{path:?}: in {text:?} is something that a path does not have; a name in braces is a whole part: /{{id}}/ws"
            ));
        }
        Ok(Segment::Text(text.to_owned()))
    };
    rest.split('/').map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(path: &str, preset: &str) -> EndpointSpec {
        EndpointSpec {
            path: path.to_owned(),
            preset: preset.to_owned(),
            auth: None,
            channels: None,
            grant: Vec::new(),
            cookie: None,
        }
    }

    fn endpoints(specs: &[EndpointSpec]) -> Result<Endpoints, EndpointError> {
        Endpoints::new(specs, &Presets::default(), true)
    }

    #[test]
    fn a_path_is_found_by_its_parts_and_what_is_written_out_comes_first() {
        let project = spec("/projects/{projectId}/ws", "project-path");
        let all = [project, spec("/projects/mine/ws", "user-stream")];
        let all = endpoints(&all).expect("good");
        let found = |path| {
            let (endpoint, values) = all.find(path)?;
            Some((endpoint.preset.clone(), values))
        };
        let values = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
        let project = |value| Some(("project-path".to_owned(), values(&[value])));
        assert_eq!(found("/projects/7/ws"), project("7"));
        assert_eq!(found("/projects/a%2Fb/ws"), project("a/b"));
        assert_eq!(found("/projects//ws"), project(""));
        assert_eq!(found("/projects/7/ws/"), project("7"));
        let mine = Some(("user-stream".to_owned(), values(&[])));
        assert_eq!(found("/projects/mine/ws"), mine);
        assert_eq!(found("/ws"), Some(("default".to_owned(), values(&[]))));
        for other in ["/", "/projects/7", "/projects/7/ws//", "/WS", "ws", ""] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        let with = |change: fn(&mut EndpointSpec)| {
            let mut spec = spec("/x/{id}", "default");
            change(&mut spec);
            endpoints(&[spec]).map(|_| ()).map_err(|error| error.key)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|spec| spec.path = "x".into()), Err("path"));
        assert_eq!(with(|spec| spec.path = "/x//y".into()), Err("path"));
        assert_eq!(with(|spec| spec.path = "/x{id}".into()), Err("path"));
        assert_eq!(with(|spec| spec.path = "/{id}/{id}".into()), Err("path"));
        assert_eq!(with(|spec| spec.path = "/events".into()), Err("path"));
        assert_eq!(with(|spec| spec.preset = "elemets".into()), Err("preset"));
        let project = |spec: &mut EndpointSpec| spec.preset = "project-path".into();
        assert_eq!(with(project), Err("path"), "it has no projectId");
        let channels = |spec: &mut EndpointSpec| spec.channels = Some(vec!["a:{other}".into()]);
        assert_eq!(with(channels), Err("channels"));
        let grant = |spec: &mut EndpointSpec| spec.grant = vec!["a b".into()];
        assert_eq!(with(grant), Err("grant"));
        let nobody = |spec: &mut EndpointSpec| {
            spec.auth = Some(EndpointAuth::None);
            spec.channels = Some(vec!["user:{sub}".into()]);
        };
        assert_eq!(with(nobody), Err("channels"));
        let twice = [spec("/x/{a}", "default"), spec("/x/{b}", "default")];
        let error = endpoints(&twice).expect_err("twice");
        assert_eq!((error.number, error.key), (1, "path"));
        let mut asks = spec("/x", "default");
        asks.auth = Some(EndpointAuth::Jwt);
        let error = Endpoints::new(&[asks], &Presets::default(), false);
        assert_eq!(error.expect_err("no key").key, "auth");
    }
}
