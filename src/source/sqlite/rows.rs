//! Reads rows: a page of all there are, or those of some channels.

use serde_json::value::RawValue;
use sqlx::sqlite::SqliteConnection;

use super::life::epoch_of;
use crate::cursor::Epoch;
use crate::error::Error;
use crate::event::{ChannelPattern, Channels, Event, EventId};
use crate::source::{BadRow, Row};

/// Rows of one statement. A read transaction that stays open keeps the log from being reset, so it must end soon.
pub(super) const PAGE_ROWS: i64 = 1000;

/// Ids that are found at once.
pub(super) const FIND_ROWS: i64 = 20_000;

/// Ids that are looked among at first: those that are found are sorted. More where few are found.
pub(super) const FIND_AMONG: i64 = 100_000;

/// Where every so many rows one is wanted, reading them all takes no longer than finding it.
pub(super) const WANTED_OFTEN: i64 = 4;

/// Rows that are rather all read, and looked through, than found by channel.
pub(super) const LOOK_THROUGH_ROWS: i64 = 5000;

/// A row as the database has it: as bytes, as text that is not UTF-8 must spoil its own row only, and every value that a
/// view could leave out optional. A text is handed out as bytes without a CAST, which would copy it twice more. A time is mostly
/// as the table writes it by itself; to format it anew would take a tenth of what a row takes.
struct TableRow {
    id: i64,
    channel: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
    entity_id: Option<Vec<u8>>,
    actor: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
    trace_id: Option<Vec<u8>>,
    origin: Option<Vec<u8>>,
    created_at: Option<String>,
}

/// The next rows after an id, and up to another. Fails where the file is not in this epoch any more.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    epoch: Epoch,
    after: i64,
    upto: i64,
) -> Result<Vec<(i64, Row)>, Error> {
    let (number, tag) = (epoch.number.cast_signed(), i64::from(epoch.tag));
    // Its epoch is asked for by the same statement, as another one takes longer than a few rows do.
    let rows = sqlx::query_as!(
        TableRow,
        r#"SELECT id AS "id!: i64",
                  channel AS "channel?: Vec<u8>", type AS "kind?: Vec<u8>", entity_id AS "entity_id?: Vec<u8>",
                  actor AS "actor?: Vec<u8>", payload AS "payload?: Vec<u8>", previous AS "previous?: Vec<u8>",
                  trace_id AS "trace_id?: Vec<u8>", origin AS "origin?: Vec<u8>",
                  CASE WHEN created_at GLOB '????-??-??T??:??:??.???Z' THEN created_at
                       ELSE strftime('%Y-%m-%dT%H:%M:%fZ', created_at) END AS "created_at?: String"
             FROM events
            WHERE id > ? AND id <= ?
              AND ? = (SELECT max(epoch) FROM rowcast_epochs)
              AND ? = (SELECT tag FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1)
            ORDER BY id LIMIT ?"#,
        after,
        upto,
        number,
        tag,
        PAGE_ROWS,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::database("read new rows"))?;
    if rows.is_empty() && epoch_of(connection).await? != epoch {
        return Err(Error::EpochChanged);
    }
    Ok(rows.into_iter().map(|row| (row.id, event(row))).collect())
}

/// What to look for, as JSON lists.
pub(super) struct Wanted {
    /// Channels by their names.
    names: String,
    /// Ranges of channels, by how they begin: `[[from, to], …]`.
    ranges: String,
}

impl Wanted {
    /// None where everything is wanted.
    pub fn new(patterns: &[ChannelPattern]) -> Option<Self> {
        let mut names = Vec::new();
        let mut ranges = Vec::new();
        for pattern in patterns {
            let name = match pattern.as_str() {
                "*" => return None,
                name => name.strip_suffix(":*").unwrap_or_else(|| {
                    names.push(name);
                    name
                }),
            };
            // ';' is the character behind ':'.
            ranges.push([format!("{name}:"), format!("{name};")]);
        }
        let json = |list: Result<String, _>| list.expect("lists of texts are JSON");
        Some(Self {
            names: json(serde_json::to_string(&names)),
            ranges: json(serde_json::to_string(&ranges)),
        })
    }
}

/// The ids of the next rows on some channels, and of all rows on several. Its cost follows what there is on the channels,
/// for patterns such as `messages:*` of all times.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    after: i64,
    upto: i64,
    wanted: &Wanted,
) -> Result<Vec<i64>, Error> {
    // CROSS JOIN is how SQLite is told which table is first, and + that a condition is not to be looked up by: it would
    // read all rows of the window for every range.
    sqlx::query_scalar!(
        r#"SELECT e.id AS "id!: i64" FROM json_each(?3) n CROSS JOIN events e ON e.channel = n.value
            WHERE e.id > ?1 AND e.id <= ?2
           UNION
           SELECT e.id FROM json_each(?4) r
            CROSS JOIN events e ON e.channel >= r.value ->> 0 AND e.channel < r.value ->> 1
            WHERE +e.id > ?1 AND +e.id <= ?2
           UNION
           SELECT e.id FROM events e WHERE instr(e.channel, ' ') > 0 AND e.id > ?1 AND e.id <= ?2
            ORDER BY 1 LIMIT ?5"#,
        after,
        upto,
        wanted.names,
        wanted.ranges,
        FIND_ROWS,
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database("find what was missed"))
}

/// The rows with these ids, as far as they are still there.
pub(super) async fn these(
    connection: &mut SqliteConnection,
    ids: &[i64],
) -> Result<Vec<Row>, Error> {
    let ids = serde_json::to_string(ids).expect("lists of numbers are JSON");
    let rows = sqlx::query_as!(
        TableRow,
        r#"SELECT id AS "id!: i64",
                  channel AS "channel?: Vec<u8>", type AS "kind?: Vec<u8>", entity_id AS "entity_id?: Vec<u8>",
                  actor AS "actor?: Vec<u8>", payload AS "payload?: Vec<u8>", previous AS "previous?: Vec<u8>",
                  trace_id AS "trace_id?: Vec<u8>", origin AS "origin?: Vec<u8>",
                  CASE WHEN created_at GLOB '????-??-??T??:??:??.???Z' THEN created_at
                       ELSE strftime('%Y-%m-%dT%H:%M:%fZ', created_at) END AS "created_at?: String"
             FROM events WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"#,
        ids,
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database("read what was missed"))?;
    Ok(rows.into_iter().map(event).collect())
}

fn event(row: TableRow) -> Row {
    let id = EventId(row.id);
    let bad = |reason: String| BadRow { id, reason };
    // The table has no NULL there, but a view may.
    let given = |column: &str, bytes: Option<Vec<u8>>| {
        bytes.ok_or_else(|| bad(format!("{column} has no value")))
    };
    let text = |column: &str, bytes| {
        String::from_utf8(bytes).map_err(|_| bad(format!("{column} is not UTF-8")))
    };
    let json = |column: &str, bytes| {
        RawValue::from_string(text(column, bytes)?)
            .map_err(|error| bad(format!("{column} is not JSON: {error}")))
    };
    Ok(Event {
        id,
        channels: Channels::parse(&text("channel", given("channel", row.channel)?)?)
            .map_err(|error| bad(error.to_string()))?,
        kind: text("type", given("type", row.kind)?)?,
        entity_id: row
            .entity_id
            .map(|bytes| text("entity_id", bytes))
            .transpose()?,
        actor: row.actor.map(|bytes| text("actor", bytes)).transpose()?,
        payload: json("payload", given("payload", row.payload)?)?,
        previous: row
            .previous
            .map(|bytes| json("previous", bytes))
            .transpose()?,
        trace_id: row
            .trace_id
            .map(|bytes| text("trace_id", bytes))
            .transpose()?,
        origin: row.origin.map(|bytes| text("origin", bytes)).transpose()?,
        transaction: None,
        created_at: row
            .created_at
            .ok_or_else(|| bad("created_at is not a time".into()))?,
    })
}
