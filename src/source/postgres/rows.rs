//! Reads windows: all their rows, or those of some channels.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _};
use serde_json::value::RawValue;
use sqlx::postgres::PgConnection;

use crate::cursor::{Position, Snapshot};
use crate::error::Error;
use crate::event::{ChannelPattern, Channels, Event, EventId};
use crate::source::{BadRow, Row, Window};

/// Rows of a window that are rather all read, and looked through here, than found by channel: it takes about 5 ms.
const LOOK_THROUGH_ROWS: i64 = 5000;

/// A row as the database has it, with every value that a view could leave out optional.
struct TableRow {
    id: i64,
    xid: Option<i64>,
    channel: Option<String>,
    kind: Option<String>,
    entity_id: Option<String>,
    actor: Option<String>,
    payload: Option<String>,
    previous: Option<String>,
    trace_id: Option<String>,
    origin: Option<String>,
    created_at: Option<String>,
}

/// A window as the statements take it.
pub(super) struct Frozen {
    after: String,
    upto: String,
    resume_after: i64,
}

impl Frozen {
    /// None where it is not of this kind of database.
    pub fn new(window: &Window) -> Option<Self> {
        let text = |position: &Position| match position {
            Position::Snapshot(snapshot) => Some(Snapshot::to_string(snapshot)),
            Position::Id(_) | Position::Within(_) => None,
        };
        Some(Self {
            after: text(&window.after.position)?,
            upto: text(&window.upto.position)?,
            resume_after: window.resume_after.map_or(i64::MIN, |id| id.0),
        })
    }
}

/// All rows of a window.
pub(super) fn all<'a>(
    connection: &'a mut PgConnection,
    window: &'a Frozen,
) -> BoxStream<'a, Result<Row, Error>> {
    // Visibility comes from the frozen snapshot, not from the statement, so the window may be read later and again. The
    // two branches are disjoint: what was in flight at $1 is below its xmax. One branch with OR would scan the whole
    // table. A plain join on e.xid = o.xid does so too where it is unknown, or known, that few transactions wrote many
    // rows: OFFSET 0 makes it one look for every transaction that was in flight, and BETWEEN, which means the same as =,
    // makes the index the way to look.
    //
    // Rows on several channels are in one index, all others in another. Of any row, be its channel NULL, one of the two
    // conditions holds; they have to be told as they are where the indexes are made (a cast of what is a text is nothing).
    sqlx::query_as!(
        TableRow,
        r#"WITH s AS MATERIALIZED (SELECT $1::text::pg_snapshot AS prev, $2::text::pg_snapshot AS cur),
           r AS NOT MATERIALIZED (SELECT * FROM events WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE
                                  UNION ALL SELECT * FROM events WHERE position(' ' IN channel::text) > 0),
           w AS (
             SELECT e.* FROM r AS e
              WHERE e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s)
                AND e.xid <  (SELECT pg_snapshot_xmax(cur)  FROM s)
                AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                AND e.id > $3
             UNION ALL
             SELECT e.* FROM (SELECT pg_snapshot_xip(prev) AS xid FROM s) o
              CROSS JOIN LATERAL (
                SELECT e.* FROM r AS e
                 WHERE e.xid BETWEEN o.xid AND o.xid
                   AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                   AND e.id > $3
                OFFSET 0) e)
           SELECT id::bigint AS "id!", xid::text::bigint AS xid, channel::text AS channel, type::text AS kind,
                  entity_id::text AS entity_id, actor::text AS actor, payload::text AS payload,
                  previous::text AS previous, trace_id::text AS trace_id, origin::text AS origin,
                  to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at
             FROM w ORDER BY id"#,
        window.after,
        window.upto,
        window.resume_after,
    )
    .fetch(connection)
    .map(|row| row.map(event).map_err(Error::database("read new rows")))
    .boxed()
}

/// The first transaction that wrote anything in so long a time, or, if it is earlier, the one after that of the last row before;
/// none that is pruned. Where there never was a row it is the first of all.
pub(super) async fn first_transaction_since(
    connection: &mut PgConnection,
    back: Duration,
) -> Result<u64, Error> {
    // From the last row down, as far as rows are young. Where a view does not tell their age, they are taken for old.
    let first = sqlx::query_scalar!(
        r#"WITH old AS MATERIALIZED (
             SELECT id, xid::text::bigint AS xid FROM events
              WHERE coalesce(created_at < clock_timestamp() - $1::float8 * interval '1 millisecond', true)
              ORDER BY id DESC LIMIT 1),
           young AS (SELECT min(xid::text::bigint) AS xid FROM events
                      WHERE id > coalesce((SELECT id FROM old), -9223372036854775808))
           SELECT coalesce(greatest(
                    least((SELECT xid + 1 FROM old), (SELECT xid FROM young)),
                    (SELECT 1 + pruned_xid::text::bigint FROM rowcast_retention
                      WHERE pruned_xid > '0' AND pruned_xid < pg_snapshot_xmax(pg_current_snapshot()))), 1) AS "first!""#,
        back.as_secs_f64() * 1000.0,
    )
    .fetch_one(connection)
    .await
    .map_err(Error::database("look for the last rows"))?;
    Ok(first.unsigned_abs())
}

/// Whether there are so many rows in a window that those of a few channels are better found by the index.
pub(super) async fn is_large(
    connection: &mut PgConnection,
    window: &Frozen,
) -> Result<bool, Error> {
    let rows = sqlx::query_scalar!(
        r#"WITH s AS MATERIALIZED (SELECT $1::text::pg_snapshot AS prev, $2::text::pg_snapshot AS cur),
           r AS NOT MATERIALIZED (SELECT * FROM events WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE
                                  UNION ALL SELECT * FROM events WHERE position(' ' IN channel::text) > 0)
           SELECT count(*) AS "count!" FROM (
             SELECT FROM r AS e
              WHERE e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s) AND e.xid < (SELECT pg_snapshot_xmax(cur) FROM s)
              LIMIT $3) w"#,
        window.after,
        window.upto,
        LOOK_THROUGH_ROWS,
    )
    .fetch_one(connection)
    .await
    .map_err(Error::database("count what was missed"))?;
    Ok(rows >= LOOK_THROUGH_ROWS)
}

/// What to look for, each row once.
pub(super) struct Wanted {
    /// Channels by their names.
    names: Vec<String>,
    /// All channels that begin so; the last character is a colon.
    prefixes: Vec<String>,
}

impl Wanted {
    /// None where everything is wanted.
    pub fn new(patterns: &[ChannelPattern]) -> Option<Self> {
        let mut names = Vec::new();
        let mut prefixes = Vec::new();
        for pattern in patterns {
            // What another pattern has already would come twice.
            if patterns.iter().any(|other| other.is_wider_than(pattern)) {
                continue;
            }
            match pattern.as_str() {
                "*" => return None,
                name => {
                    let prefix = name.strip_suffix('*').map(str::to_owned);
                    prefixes.push(prefix.unwrap_or_else(|| {
                        names.push(name.to_owned());
                        format!("{name}:")
                    }));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        prefixes.sort_unstable();
        prefixes.dedup();
        Some(Self { names, prefixes })
    }
}

/// The rows of a window that are on some channels, found by the index on them. Its cost follows what is found, but for
/// patterns: below `messages:*` it reads the index of all channels there are.
pub(super) fn some<'a>(
    connection: &'a mut PgConnection,
    window: &'a Frozen,
    wanted: &'a Wanted,
) -> BoxStream<'a, Result<Row, Error>> {
    // As above, in more branches, and disjoint again: rows on one channel, by its name; rows on one channel, by how it
    // begins (';' is the character behind ':'); rows on several channels; rows of transactions in flight at $1. A name has no
    // space, but the index of names needs to be told: it leaves rows on several channels out.
    sqlx::query_as!(
        TableRow,
        r#"WITH s AS MATERIALIZED (SELECT $1::text::pg_snapshot AS prev, $2::text::pg_snapshot AS cur),
           r AS NOT MATERIALIZED (SELECT * FROM events WHERE (position(' ' IN channel::text) > 0) IS NOT TRUE
                                  UNION ALL SELECT * FROM events WHERE position(' ' IN channel::text) > 0),
           w AS (
             SELECT e.* FROM unnest($4::text[]) AS n (name)
              CROSS JOIN LATERAL (
                SELECT e.* FROM events e
                 WHERE e.channel COLLATE "C" = n.name AND position(' ' IN e.channel) = 0
                   AND e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s)
                   AND e.xid <  (SELECT pg_snapshot_xmax(cur)  FROM s)
                   AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                   AND e.id > $3
                OFFSET 0) e
             UNION ALL
             SELECT e.* FROM unnest($5::text[]) AS p (prefix)
              CROSS JOIN LATERAL (
                SELECT e.* FROM events e
                 WHERE e.channel COLLATE "C" >= p.prefix AND e.channel COLLATE "C" < rtrim(p.prefix, ':') || ';'
                   AND position(' ' IN e.channel) = 0
                   AND e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s)
                   AND e.xid <  (SELECT pg_snapshot_xmax(cur)  FROM s)
                   AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                   AND e.id > $3
                OFFSET 0) e
             UNION ALL
             SELECT e.* FROM events e
              WHERE position(' ' IN e.channel) > 0
                AND e.xid >= (SELECT pg_snapshot_xmax(prev) FROM s)
                AND e.xid <  (SELECT pg_snapshot_xmax(cur)  FROM s)
                AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                AND e.id > $3
                AND EXISTS (SELECT FROM unnest(string_to_array(e.channel, ' ')) AS c (name)
                             WHERE c.name = ANY ($4) OR EXISTS (SELECT FROM unnest($5) AS p (prefix)
                                                                 WHERE starts_with(c.name, p.prefix)))
             UNION ALL
             SELECT e.* FROM (SELECT pg_snapshot_xip(prev) AS xid FROM s) o
              CROSS JOIN LATERAL (
                SELECT e.* FROM r AS e
                 WHERE e.xid BETWEEN o.xid AND o.xid
                   AND pg_visible_in_snapshot(e.xid, (SELECT cur FROM s))
                   AND e.id > $3
                   AND EXISTS (SELECT FROM unnest(string_to_array(e.channel, ' ')) AS c (name)
                                WHERE c.name = ANY ($4) OR EXISTS (SELECT FROM unnest($5) AS p (prefix)
                                                                    WHERE starts_with(c.name, p.prefix)))
                OFFSET 0) e)
           SELECT id::bigint AS "id!", xid::text::bigint AS xid, channel::text AS channel, type::text AS kind,
                  entity_id::text AS entity_id, actor::text AS actor, payload::text AS payload,
                  previous::text AS previous, trace_id::text AS trace_id, origin::text AS origin,
                  to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at
             FROM w ORDER BY id"#,
        window.after,
        window.upto,
        window.resume_after,
        &wanted.names,
        &wanted.prefixes,
    )
    .fetch(connection)
    .map(|row| row.map(event).map_err(Error::database("read what was missed")))
    .boxed()
}

fn event(row: TableRow) -> Row {
    let id = EventId(row.id);
    let bad = |reason: String| BadRow { id, reason };
    // The table has no NULL there, but a view may, and `created_at` is NULL too where it is infinite.
    let given = |column: &str, text: Option<String>| {
        text.ok_or_else(|| bad(format!("{column} has no value")))
    };
    let json = |column: &str, text| {
        RawValue::from_string(text).map_err(|error| bad(format!("{column} is not JSON: {error}")))
    };
    Ok(Arc::new(Event {
        id,
        channels: Channels::parse(&given("channel", row.channel)?)
            .map_err(|error| bad(error.to_string()))?,
        kind: given("type", row.kind)?,
        entity_id: row.entity_id,
        actor: row.actor,
        payload: json("payload", given("payload", row.payload)?)?,
        previous: row
            .previous
            .map(|text| json("previous", text))
            .transpose()?,
        trace_id: row.trace_id,
        origin: row.origin,
        transaction: row.xid.map(i64::cast_unsigned),
        created_at: given("created_at", row.created_at)?,
    }))
}
