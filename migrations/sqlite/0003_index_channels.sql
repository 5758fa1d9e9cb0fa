-- Catch-up reads what a client missed, by channel. The index has the row's id anyway.
CREATE INDEX events_channel ON events (channel);
-- Rows that address several channels cannot be found by one name; they are few, and looked through.
CREATE INDEX events_several_channels ON events (id) WHERE instr(channel, ' ') > 0;

-- The newest row that has been pruned. A position before it may miss some of them.
CREATE TABLE rowcast_retention (
    one       INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    pruned_id INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO rowcast_retention DEFAULT VALUES;

-- The position of the feed, for a backend to hand out with the state it reads: read both in one transaction, or this
-- first. SELECT cursor FROM rowcast_cursor;
CREATE VIEW rowcast_cursor AS
SELECT 'i.' || epoch || '.' || tag || '.'
       || max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
              coalesce((SELECT max(id) FROM events), 0)) AS cursor
  FROM rowcast_epochs ORDER BY epoch DESC LIMIT 1;
