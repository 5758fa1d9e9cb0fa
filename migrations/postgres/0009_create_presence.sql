-- Who is on which channel, where `rowcast serve --presence` asks for it; else nothing of it is ever touched. Each server keeps
-- here who is connected to it, and reads here who is connected to others. Nothing of it outlives a crash of the database, nor
-- has to: each server then enters its own anew.
CREATE UNLOGGED TABLE rowcast_servers (
    -- A random name, of one run of one server.
    server     text        PRIMARY KEY,
    -- Counts the changes of its members.
    version    bigint      NOT NULL DEFAULT 0,
    -- Who has seen less than this version has to read all of its members: rows of those that left before are deleted.
    forgotten  bigint      NOT NULL DEFAULT 0,
    -- Renewed several times before it is over. From then on its members are gone, and the rows are deleted some time.
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE UNLOGGED TABLE rowcast_presence (
    server     text        NOT NULL REFERENCES rowcast_servers ON DELETE CASCADE,
    channel    text        NOT NULL,
    user_id    text        NOT NULL,
    since      timestamptz NOT NULL,
    -- That of its server when it changed last.
    version    bigint      NOT NULL,
    -- Not: has left.
    is_here    boolean     NOT NULL,
    PRIMARY KEY (channel, user_id, server)
);
CREATE INDEX rowcast_presence_version ON rowcast_presence (server, version);
