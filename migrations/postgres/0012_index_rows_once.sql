-- Every row is in one index by xid now, not two: those on several channels in the index of their own, all others in this one. It
-- saves an INSERT on several channels, as most of `rowcast attach` are, a third of its indexes. IS NOT TRUE: what is not told by a
-- name (only a view could have that) is in exactly one of them, too. Made first and dropped last, so that readers wait for a moment
-- only, and not while it is made.
CREATE INDEX events_one_channel ON events (xid, id) WHERE (position(' ' IN channel) > 0) IS NOT TRUE;
DROP INDEX IF EXISTS events_xid_id;
