-- The table backends INSERT into. Three columns are enough:
--   INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', '{"id": 1}');
-- AUTOINCREMENT: without it the id of a deleted last row would be given out again.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Names separated by single spaces. Texts may hold NUL, where GLOB, length and json_valid stop reading: it is
    -- looked for apart.
    channel    TEXT NOT NULL
        CONSTRAINT events_channel_names CHECK (
            channel <> '' AND channel NOT GLOB '*[^A-Za-z0-9_.@/: -]*' AND instr(channel, char(0)) = 0
            AND ' ' || channel || ' ' NOT GLOB '*[: ][: ]*')
        -- No 201 characters in a row without a space.
        CONSTRAINT events_channel_length CHECK (
            length(channel) <= 200 OR length(channel) <= 2000
            AND channel NOT GLOB '*' || replace(hex(zeroblob(201)), '00', '[^ ]') || '*'),
    type       TEXT NOT NULL
        CONSTRAINT events_type_word CHECK (
            length(CAST(type AS BLOB)) BETWEEN 1 AND 200 AND instr(type, char(0)) = 0
            AND type NOT GLOB '*[' || char(1) || '-' || char(32) || char(127) || ']*'),
    entity_id  TEXT,
    actor      TEXT,
    payload    TEXT NOT NULL DEFAULT '{}'
        CONSTRAINT events_payload_json CHECK (json_valid(payload) AND instr(payload, char(0)) = 0),
    previous   TEXT
        CONSTRAINT events_previous_json CHECK (previous IS NULL OR json_valid(previous) AND instr(previous, char(0)) = 0),
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
