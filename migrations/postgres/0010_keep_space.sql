-- Pages that pruning has emptied stay with the table, for the events to come. To give them back, VACUUM would lock the table against
-- the feed and all writers (a standby's queries, too), and an INSERT that has to make a page anew takes longer. A feed
-- never stays small for long. `VACUUM (TRUNCATE) events` gives them back on purpose.
ALTER TABLE events SET (vacuum_truncate = off, toast.vacuum_truncate = off);
