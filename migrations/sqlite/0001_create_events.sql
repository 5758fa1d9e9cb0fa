-- The table backends INSERT into. Three columns are enough:
--   INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', '{"id": 1}');
-- AUTOINCREMENT: without it the id of a deleted last row would be given out again.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Names separated by single spaces.
    channel    TEXT NOT NULL
        CONSTRAINT events_channel_names CHECK (
            channel <> '' AND channel NOT GLOB '*[^A-Za-z0-9_.@/: -]*'
            AND ' ' || channel || ' ' NOT GLOB '*[: ][: ]*')
        CONSTRAINT events_channel_length CHECK (
            length(channel) <= CASE instr(channel, ' ') WHEN 0 THEN 200 ELSE 2000 END),
    type       TEXT NOT NULL
        CONSTRAINT events_type_word CHECK (
            length(type) BETWEEN 1 AND 200 AND type NOT GLOB '*[' || char(1) || '-' || char(32) || char(127) || ']*'),
    entity_id  TEXT,
    actor      TEXT,
    payload    TEXT NOT NULL DEFAULT '{}' CONSTRAINT events_payload_json CHECK (json_valid(payload)),
    previous   TEXT CONSTRAINT events_previous_json CHECK (previous IS NULL OR json_valid(previous)),
    trace_id   TEXT,
    origin     TEXT,
    dedup_key  TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        CONSTRAINT events_created_at_time CHECK (julianday(created_at) IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX events_dedup_key ON events (dedup_key) WHERE dedup_key IS NOT NULL;

-- One row for every life of the file (created, restored) a feed was read in. Positions are comparable within one.
CREATE TABLE rowcast_epochs (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Tells positions of this database from those of any other.
    tag   INTEGER NOT NULL DEFAULT (abs(random()) % 4294967296)
) STRICT;

INSERT INTO rowcast_epochs DEFAULT VALUES;
