-- What an administrator has ordered, for all servers that read this table: whom to refuse, whom to disconnect, what to tell
-- everybody. A server looks here once a poll interval. `rowcast serve` writes a row for an order given to its
-- administration; whoever may INSERT here may do the same without one:
--   INSERT INTO rowcast_commands (kind, subject, expires_at) VALUES ('revoke_user', 'ann', now() + interval '24 hours');
CREATE TABLE rowcast_commands (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL
        CONSTRAINT rowcast_commands_kind CHECK (kind IN ('revoke_user', 'revoke_token', 'disconnect_user', 'broadcast')),
    -- A user, the id of a token (its `jti`), or the channel of a broadcast; without one that is for all.
    subject    text
        CONSTRAINT rowcast_commands_subject CHECK (octet_length(subject) BETWEEN 1 AND 2000)
        CONSTRAINT rowcast_commands_whom CHECK (subject IS NOT NULL OR kind = 'broadcast'),
    -- The message of a broadcast. json, not jsonb: it is passed on as it was written.
    payload    json
        CONSTRAINT rowcast_commands_message CHECK ((payload IS NOT NULL) = (kind = 'broadcast')),
    -- A revoked user is refused with tokens that were issued up to then.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        CONSTRAINT rowcast_commands_created_at_finite CHECK (isfinite(created_at)),
    -- From then on it counts for nothing, and is deleted some time.
    expires_at timestamptz NOT NULL
);
