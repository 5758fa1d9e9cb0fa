-- What an administrator has ordered, for all servers that read this file: whom to refuse, whom to disconnect, what to tell
-- everybody. A server looks here once a poll interval. `rowcast serve` writes a row for an order given to its
-- administration; whoever may write to the file may do the same without one:
--   INSERT INTO rowcast_commands (kind, subject, expires_at)
--   VALUES ('revoke_user', 'ann', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+24 hours'));
CREATE TABLE rowcast_commands (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL
        CONSTRAINT rowcast_commands_kind CHECK (kind IN ('revoke_user', 'revoke_token', 'disconnect_user', 'broadcast')),
    -- A user, the id of a token (its `jti`), or the channel of a broadcast; without one that is for all.
    subject    TEXT
        CONSTRAINT rowcast_commands_subject CHECK (length(CAST(subject AS BLOB)) BETWEEN 1 AND 2000)
        CONSTRAINT rowcast_commands_whom CHECK (subject IS NOT NULL OR kind = 'broadcast'),
    -- The message of a broadcast.
    payload    TEXT
        CONSTRAINT rowcast_commands_payload_json CHECK (
            payload IS NULL OR json_valid(payload) AND instr(payload, char(0)) = 0)
        CONSTRAINT rowcast_commands_message CHECK ((payload IS NOT NULL) = (kind = 'broadcast')),
    -- A revoked user is refused with tokens that were issued up to then.
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        CONSTRAINT rowcast_commands_created_at_time CHECK (julianday(created_at) IS NOT NULL),
    -- From then on it counts for nothing, and is deleted some time.
    expires_at TEXT NOT NULL
        CONSTRAINT rowcast_commands_expires_at_time CHECK (julianday(expires_at) IS NOT NULL)
) STRICT;
