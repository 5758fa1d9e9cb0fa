-- SQLite needs nothing here: no table of it can wake another process, and the server looks for commands once a poll interval.
-- The number is kept so that both databases count alike.
SELECT 1;
