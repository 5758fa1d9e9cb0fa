//! The format of an exchange.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::support::presets::folder;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub preset: String,
    #[expect(dead_code, reason = "for its readers")]
    title: String,
    #[expect(dead_code, reason = "for its readers")]
    about: String,
    pub path: String,
    pub token: Option<Value>,
    pub subprotocol: Option<String>,
    #[serde(default)]
    pub server: Server,
    pub steps: Vec<Step>,
}

/// In what the server differs from that of all others.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub messages_per_minute: Option<u32>,
    pub ping_interval_ms: Option<u64>,
    pub grace_period_ms: Option<u64>,
    /// A pattern of channels of which it is kept who is there.
    pub presence: Option<String>,
}

/// What happens next.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Step {
    /// The client says something that the preset knows.
    Client {
        #[serde(rename = "frame")]
        _frame: Option<String>,
        client: Value,
    },
    /// The client says something that is not even JSON.
    ClientText {
        client_text: String,
    },
    /// The next thing that the client hears.
    Server {
        frame: String,
        server: Value,
    },
    Insert {
        insert: Rows,
    },
    /// Somebody posts this to /broadcast.
    Broadcast {
        broadcast: Value,
    },
    /// A connection of somebody subscribes to a channel, and he is there.
    Enter {
        enter: Guest,
    },
    /// It ends.
    Exit {
        exit: Guest,
    },
    /// The client hears nothing by now, and why.
    Nothing {
        nothing: String,
    },
    Close {
        close: Close,
    },
    Disconnect {
        #[serde(rename = "disconnect")]
        _disconnect: bool,
    },
    Connect {
        connect: String,
    },
    /// The server is told to stop.
    Stop {
        #[serde(rename = "stop")]
        _stop: String,
    },
}

/// One row, or those of a transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Rows {
    One(Row),
    Several(Vec<Row>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub channel: String,
    pub r#type: String,
    pub payload: Value,
    pub entity_id: Option<String>,
    pub actor: Option<String>,
    pub previous: Option<Value>,
    pub trace_id: Option<String>,
    pub origin: Option<String>,
}

/// Who is on which channel by a connection of his own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    pub user: String,
    pub channel: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    pub code: u16,
    pub reason: Value,
}

impl Exchange {
    /// Whether it has a server to itself: one that differs, or as it takes the seconds until a token expires.
    pub fn has_own_server(&self) -> bool {
        let expires = |token: &Value| token["expires_in_s"].as_i64().is_some_and(|s| s > 0);
        self.server != Server::default() || self.token.as_ref().is_some_and(expires)
    }

    /// All there are, by name.
    pub fn all() -> Vec<(String, Self)> {
        let files = fs::read_dir(folder()).expect("docs/protocol");
        let mut all: Vec<_> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .map(|path| (stem(&path), read(&path)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().expect("it has a name");
    stem.to_string_lossy().into_owned()
}

fn read(path: &Path) -> Exchange {
    let text = fs::read_to_string(path).expect("a text");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Rows {
    fn rows(&self) -> &[Row] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Several(rows) => rows,
        }
    }

    pub fn count(&self) -> usize {
        self.rows().len()
    }

    /// One statement, so one transaction.
    pub fn sql(&self) -> String {
        let rows = self.rows();
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let or_null = |text: &Option<String>| text.as_deref().map_or("NULL".into(), quoted);
        let values: Vec<_> = rows
            .iter()
            .map(|row| {
                let previous = row.previous.as_ref().map(Value::to_string);
                [
                    quoted(&row.channel),
                    quoted(&row.r#type),
                    quoted(&row.payload.to_string()),
                    or_null(&row.entity_id),
                    or_null(&row.actor),
                    or_null(&previous),
                    or_null(&row.trace_id),
                    or_null(&row.origin),
                ]
                .join(", ")
            })
            .map(|values| format!("({values})"))
            .collect();
        format!(
            "INSERT INTO events (channel, type, payload, entity_id, actor, previous, trace_id, origin) VALUES {}",
            values.join(", ")
        )
    }
}
