-- SQLite needs nothing here: a row's id is its place in the table, and no index is needed to read on from there.
-- The number is kept so that both databases count alike.
SELECT 1;
