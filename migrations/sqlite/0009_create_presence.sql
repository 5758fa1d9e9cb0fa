-- Who is on which channel, where `rowcast serve --presence` asks for it; else nothing of it is ever touched. Each server keeps
-- here who is connected to it, and reads here who is connected to others on the same file.
CREATE TABLE rowcast_servers (
    -- A random name, of one run of one server.
    server     TEXT    PRIMARY KEY,
    -- Counts the changes of its members.
    version    INTEGER NOT NULL DEFAULT 0,
    -- Who has seen less than this version has to read all of its members: rows of those that left before are deleted.
    forgotten  INTEGER NOT NULL DEFAULT 0,
    -- Renewed several times before it is over. From then on its members are gone, and the rows are deleted some time.
    expires_at TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rowcast_presence (
    server     TEXT    NOT NULL REFERENCES rowcast_servers ON DELETE CASCADE,
    channel    TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    since      TEXT    NOT NULL,
    -- That of its server when it changed last.
    version    INTEGER NOT NULL,
    -- 0: has left.
    is_here    INTEGER NOT NULL,
    PRIMARY KEY (channel, user_id, server)
) STRICT, WITHOUT ROWID;
CREATE INDEX rowcast_presence_version ON rowcast_presence (server, version);
