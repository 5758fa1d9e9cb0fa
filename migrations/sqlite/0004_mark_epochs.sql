-- SQLite needs nothing here: it has no standbys.
-- The number is kept so that both databases count alike.
SELECT 1;
