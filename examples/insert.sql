-- Events from plain SQL, the same for both databases:
--
--   sqlite3 rowcast.db < examples/insert.sql
--   psql "$DATABASE_URL" -f examples/insert.sql
--
-- The tables are there once rowcast was started, or `rowcast migrate` was run.

-- Three columns are enough. The payload is whatever JSON your front end wants.
INSERT INTO events (channel, type, payload)
VALUES ('tasks', 'task.created', '{"id": "t1", "title": "water the plants"}');

-- Insert in the transaction that changes your data: nobody hears of what was rolled back, and nothing that was
-- committed goes unheard.
BEGIN;
-- UPDATE tasks SET done = true WHERE id = 't1';
INSERT INTO events (channel, type, entity_id, actor, payload, previous, origin)
VALUES (
    'tasks project:7',         -- names separated by spaces: whoever has both gets the event once
    'task.updated',
    't1',                      -- what it is about
    'alice',                   -- who did it
    '{"done": true}',          -- the new value
    '{"done": false}',         -- the old one, if anybody wants to know
    'mutation-17'              -- alice's own page knows by this that the change was hers
);
COMMIT;

-- A writer that tries again names its events, and each is stored once. A NULL dedup_key is no name.
INSERT INTO events (channel, type, payload, dedup_key)
VALUES ('messages:42', 'message.sent', '{"text": "hello"}', 'message-1')
ON CONFLICT DO NOTHING;
