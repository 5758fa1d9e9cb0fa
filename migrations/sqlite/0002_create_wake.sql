-- SQLite needs nothing here: its writers are seen by a watch on the write-ahead log.
-- The number is kept so that both databases count alike.
SELECT 1;
