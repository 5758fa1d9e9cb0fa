-- The same rules, told so that they cost less: to look for NUL through every character took longer than to read the JSON,
-- two fifths of an INSERT with a payload of 100 KB. printf stops at NUL, too, so what it gives is the text itself only
-- where there is none. A range of characters is put together by one function, not three.
-- A rule takes no part in how rows are stored, so its text alone is replaced, as SQLite's documentation has it ("Making
-- Other Kinds Of Table Schema Changes"): the table is neither copied nor read.
PRAGMA writable_schema = ON;
UPDATE sqlite_master
   SET sql = replace(replace(replace(sql,
           'instr(payload, char(0)) = 0', 'payload = printf(''%s'', payload)'),
           'instr(previous, char(0)) = 0', 'previous = printf(''%s'', previous)'),
           'char(1) || ''-'' || char(32) || char(127)', 'char(1, 45, 32, 127)')
 WHERE type = 'table' AND name = 'events';
PRAGMA writable_schema = OFF;

-- As on Postgres since 0007: rows on several channels are found by the index of their own, never by one name, so the index of
-- names does without them. Most rows of `rowcast attach` are so. That the schema has changed is told to other connections, too.
DROP INDEX events_channel;
CREATE INDEX events_channel ON events (channel) WHERE instr(channel, ' ') = 0;
