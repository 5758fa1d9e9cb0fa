-- Catch-up reads what a client missed, by channel. "C": prefixes of names are ranges in it.
CREATE INDEX events_channel_xid_id ON events (channel COLLATE "C", xid, id);
-- Rows that address several channels cannot be found by one name; they are few, and looked through.
CREATE INDEX events_several_channels ON events (xid, id) WHERE position(' ' IN channel) > 0;

-- The newest transaction of which rows have been pruned. A position that does not know it may miss some of them.
CREATE TABLE rowcast_retention (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    pruned_xid xid8    NOT NULL DEFAULT '0'
);
INSERT INTO rowcast_retention DEFAULT VALUES;

-- The position of the feed that the calling statement sees, for a backend to hand out with the state it reads: read both
-- in one statement, or in one REPEATABLE READ transaction, or this first. It is STABLE, so it has the snapshot of the
-- statement that calls it, and writes nothing. The life of the cluster is named by a hash, as rowcast may not have seen
-- it yet.
CREATE FUNCTION rowcast_cursor() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seen pg_snapshot := pg_current_snapshot();
    life text;
    durable numeric;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE 'rowcast_cursor() needs the primary: the snapshots of a standby leave out transactions in flight'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT concat_ws(' ', s.system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
                     (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
                     coalesce((extract(epoch FROM b.stats_reset) * 1000000)::bigint, 0)),
           -- What no crash gives out again: all that has ended, when all of the log is on the disk.
           CASE WHEN pg_current_wal_insert_lsn() = pg_current_wal_flush_lsn() THEN pg_snapshot_xmax(seen)::text::numeric
                ELSE least(pg_snapshot_xmax(seen)::text::numeric,
                           split_part(c.next_xid, ':', 1)::numeric * 4294967296 + split_part(c.next_xid, ':', 2)::numeric)
                END
      INTO life, durable
      FROM pg_control_system() s, pg_control_checkpoint() c, pg_stat_bgwriter b;
    RETURN format('s.0.%s.%s.%s', ('x' || left(md5(life), 8))::bit(32)::bigint, durable, translate(seen::text, ':,', '.-'));
END
$$;
