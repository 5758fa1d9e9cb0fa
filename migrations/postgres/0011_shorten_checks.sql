-- Postgres needs nothing here: its texts have no NUL. The number is kept so that both databases count alike.
SELECT 1;
