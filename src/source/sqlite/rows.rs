//! Reads rows: a page of all there are, or those of some channels.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use serde_json::value::RawValue;
use sqlx::sqlite::SqliteConnection;

use super::life::epoch_of;
use super::row_reader::RowReader;
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

/// The statement that reads rows, but for which. What it gives is in the order of [`Column`].
macro_rules! select_rows {
    ($which:literal) => {
        concat!(
            "SELECT id, channel, type, entity_id, actor, payload, previous, trace_id, origin, created_at FROM events ",
            $which
        )
    };
}

/// The next rows after an id, and up to another. Fails where the file is not in this epoch any more.
pub(super) async fn page(
    reader: &RowReader,
    connection: &mut SqliteConnection,
    epoch: Epoch,
    after: i64,
    upto: i64,
) -> Result<Vec<Row>, Error> {
    let (number, tag) = (epoch.number.cast_signed(), i64::from(epoch.tag));
    let most = upto.saturating_sub(after).clamp(0, PAGE_ROWS);
    // Its epoch is asked for by the same statement, as another one takes longer than a few rows do.
    let read = move |connection: &Connection| {
        let mut statement = connection.prepare_cached(select_rows!(
            "WHERE id > ? AND id <= ?
               AND ? = (SELECT max(epoch) FROM rowcast_epochs)
               AND ? = (SELECT tag FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1)
             ORDER BY id LIMIT ?"
        ))?;
        let rows = statement.query((after, upto, number, tag, PAGE_ROWS))?;
        events(connection, rows, most as usize)
    };
    let rows = reader.ask("read new rows", read).await?;
    if rows.is_empty() && epoch_of(connection).await? != epoch {
        return Err(Error::EpochChanged);
    }
    Ok(rows)
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
    // read all rows of the window for every range. A name has no space, but the index of names needs to be told: it leaves
    // rows on several channels out.
    sqlx::query_scalar!(
        r#"SELECT e.id AS "id!: i64" FROM json_each(?3) n CROSS JOIN events e ON e.channel = n.value
            WHERE instr(e.channel, ' ') = 0 AND e.id > ?1 AND e.id <= ?2
           UNION
           SELECT e.id FROM json_each(?4) r
            CROSS JOIN events e ON e.channel >= r.value ->> 0 AND e.channel < r.value ->> 1
            WHERE instr(e.channel, ' ') = 0 AND +e.id > ?1 AND +e.id <= ?2
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
pub(super) async fn these(reader: &RowReader, ids: &[i64]) -> Result<Vec<Row>, Error> {
    let most = ids.len();
    let ids = serde_json::to_string(ids).expect("lists of numbers are JSON");
    let read = move |connection: &Connection| {
        let mut statement = connection.prepare_cached(select_rows!(
            "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        ))?;
        let rows = statement.query((ids,))?;
        events(connection, rows, most)
    };
    reader.ask("read what was missed", read).await
}

/// The number of a row.
pub(super) fn id_of(row: &Row) -> EventId {
    row.as_ref().map_or_else(|bad| bad.id, |event| event.id)
}

fn events(
    connection: &Connection,
    mut rows: rusqlite::Rows<'_>,
    most: usize,
) -> rusqlite::Result<Vec<Row>> {
    let mut events = Vec::with_capacity(most);
    while let Some(row) = rows.next()? {
        events.push(event(&Values { connection, row })?);
    }
    Ok(events)
}

/// The columns that are read, in the order of the statement.
#[derive(Clone, Copy)]
enum Column {
    Id,
    Channel,
    Kind,
    EntityId,
    Actor,
    Payload,
    Previous,
    TraceId,
    Origin,
    CreatedAt,
}

/// Why there is no event.
enum Unread {
    Bad(String),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unread {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

fn event(values: &Values<'_>) -> rusqlite::Result<Row> {
    let id = EventId(values.id()?);
    match values.event(id) {
        Ok(event) => Ok(Ok(Arc::new(event))),
        Err(Unread::Bad(reason)) => Ok(Err(BadRow { id, reason })),
        Err(Unread::Failed(error)) => Err(error),
    }
}

/// A row as the database has it. The table has texts there, and a value in most; a view may have anything. What is no text
/// of an event must spoil its own row only.
struct Values<'row> {
    connection: &'row Connection,
    row: &'row rusqlite::Row<'row>,
}

impl Values<'_> {
    fn id(&self) -> rusqlite::Result<i64> {
        match self.row.get_ref(Column::Id as usize)? {
            ValueRef::Integer(id) => Ok(id),
            other => self.ask("SELECT CAST(? AS INTEGER)", other),
        }
    }

    fn event(&self, id: EventId) -> Result<Event, Unread> {
        Ok(Event {
            id,
            channels: Channels::parse(&self.given(Column::Channel, "channel")?)
                .map_err(|error| Unread::Bad(error.to_string()))?,
            kind: self.given(Column::Kind, "type")?.into_owned(),
            entity_id: self.owned(Column::EntityId, "entity_id")?,
            actor: self.owned(Column::Actor, "actor")?,
            payload: json("payload", &self.given(Column::Payload, "payload")?)?,
            previous: self
                .text(Column::Previous, "previous")?
                .map(|text| json("previous", &text))
                .transpose()?,
            trace_id: self.owned(Column::TraceId, "trace_id")?,
            origin: self.owned(Column::Origin, "origin")?,
            transaction: None,
            created_at: self.created_at()?,
        })
    }

    fn given(&self, column: Column, name: &str) -> Result<Cow<'_, str>, Unread> {
        self.text(column, name)?
            .ok_or_else(|| Unread::Bad(format!("{name} has no value")))
    }

    fn owned(&self, column: Column, name: &str) -> Result<Option<String>, Unread> {
        Ok(self.text(column, name)?.map(Cow::into_owned))
    }

    fn text(&self, column: Column, name: &str) -> Result<Option<Cow<'_, str>>, Unread> {
        Ok(Some(match self.row.get_ref(column as usize)? {
            ValueRef::Null => return Ok(None),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Cow::Borrowed(
                str::from_utf8(bytes).map_err(|_| Unread::Bad(format!("{name} is not UTF-8")))?,
            ),
            ValueRef::Integer(number) => Cow::Owned(number.to_string()),
            real @ ValueRef::Real(_) => Cow::Owned(self.ask("SELECT CAST(? AS TEXT)", real)?),
        }))
    }

    /// A time is mostly as the table writes it by itself; to format it anew would take as long as the rest of the row.
    fn created_at(&self) -> Result<String, Unread> {
        let value = self.row.get_ref(Column::CreatedAt as usize)?;
        if let ValueRef::Text(bytes) = value
            && is_as_the_table_writes_it(bytes)
            && let Ok(text) = str::from_utf8(bytes)
        {
            return Ok(text.to_owned());
        }
        self.ask::<Option<_>>("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?)", value)?
            .ok_or_else(|| Unread::Bad("created_at is not a time".into()))
    }

    /// Has SQLite make something else of a value.
    fn ask<T: FromSql>(&self, sql: &str, value: ValueRef<'_>) -> rusqlite::Result<T> {
        self.connection
            .prepare_cached(sql)?
            .query_row((ToSqlOutput::Borrowed(value),), |row| row.get(0))
    }
}

fn json(name: &str, text: &str) -> Result<Box<RawValue>, Unread> {
    serde_json::from_str::<&RawValue>(text)
        .map(ToOwned::to_owned)
        .map_err(|error| Unread::Bad(format!("{name} is not JSON: {error}")))
}

/// `0000-00-00T00:00:00.000Z`, with any digits. Without a way out before the end it is compiled to a few instructions.
fn is_as_the_table_writes_it(time: &[u8]) -> bool {
    let form = b"0000-00-00T00:00:00.000Z";
    time.len() == form.len()
        && time.iter().zip(form).fold(true, |fits, (byte, form)| {
            let most = if *form == b'0' { 9 } else { 0 };
            fits & (byte.wrapping_sub(*form) <= most)
        })
}
