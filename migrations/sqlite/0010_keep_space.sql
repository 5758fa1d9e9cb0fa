-- SQLite needs nothing here: it keeps the pages of deleted rows by itself. The number is kept so that both databases count alike.
SELECT 1;
