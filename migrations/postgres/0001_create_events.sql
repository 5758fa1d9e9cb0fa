-- The table backends INSERT into. Three columns are enough:
--   INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', '{"id": 1}');
CREATE TABLE events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Names separated by single spaces. COLLATE "C" keeps A-Z from meaning more in other locales.
    channel    text        NOT NULL
        CONSTRAINT events_channel_names CHECK (
            channel COLLATE "C" ~ '^[A-Za-z0-9_.@/-]+(:[A-Za-z0-9_.@/-]+)*( [A-Za-z0-9_.@/-]+(:[A-Za-z0-9_.@/-]+)*)*$')
        CONSTRAINT events_channel_length CHECK (
            octet_length(channel) <= 2000 AND channel !~ '\S{201}'),
    type       text        NOT NULL
        CONSTRAINT events_type_word CHECK (octet_length(type) <= 200 AND type ~ '^[^[:space:][:cntrl:]]+$'),
    entity_id  text,
    actor      text,
    payload    jsonb       NOT NULL DEFAULT '{}',
    previous   jsonb,
    trace_id   text,
    origin     text,
    dedup_key  text,
    -- clock_timestamp(), not now(): a row is as old as its INSERT, not as its transaction's BEGIN.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        CONSTRAINT events_created_at_finite CHECK (isfinite(created_at)),
    -- Which transaction wrote the row: the feed's order of commits is read from it (docs/ARCHITECTURE.md).
    -- Writers must not supply it; grant them the other columns.
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id()
);

-- The window query walks this index and nothing else.
CREATE INDEX events_xid_id ON events (xid, id);
CREATE UNIQUE INDEX events_dedup_key ON events (dedup_key) WHERE dedup_key IS NOT NULL;

COMMENT ON TABLE events IS 'rowcast: a row inserted here is sent to every client subscribed to its channel';

-- One row for every life of the cluster (start of the server, crash, promotion, restore) a feed was read in.
-- Positions are comparable within an epoch; start_xid says where the next one took over, or is 0 where nobody knows.
CREATE TABLE rowcast_epochs (
    epoch     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Tells positions of this database from those of any other.
    tag       bigint NOT NULL DEFAULT floor(random() * 4294967296)::bigint,
    system_id bigint NOT NULL,
    timeline  text   NOT NULL,
    -- When the server was started, and when its statistics were last reset, which recovery from a crash does.
    boot      bigint NOT NULL,
    crash     bigint NOT NULL,
    start_xid xid8   NOT NULL,
    UNIQUE (system_id, timeline, boot, crash)
);
