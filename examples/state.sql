-- The state of a page, and the position in the feed that it belongs to, in one statement and so in one snapshot
-- (PostgreSQL). Give both to the page; it subscribes with {"since": cursor}, and misses nothing, and nothing comes twice.
SELECT rowcast_cursor() AS cursor,
       (SELECT coalesce(json_agg(t ORDER BY t.id), '[]') FROM tasks t) AS tasks;

-- The same in SQLite:
--   SELECT (SELECT cursor FROM rowcast_cursor) AS cursor,
--          (SELECT json_group_array(json_object('id', id, 'title', title)) FROM tasks) AS tasks;
