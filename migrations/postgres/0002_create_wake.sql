-- Wakes a sleeping feed. A NOTIFY in every transaction would take half of the commits per second and more
-- (all notifying commits queue on one lock), so a writer notifies only when the lease has run out. The lease is
-- the value of a sequence, in milliseconds: it is not transactional, so every session sees it at once, and a feed
-- that polls often anyway keeps extending it. A wake lost in a race is found by the next poll.
--
-- A transaction that has notified cannot be prepared, and a trigger cannot know whether its transaction will be. So where
-- PREPARE TRANSACTION is possible at all (max_prepared_transactions, 0 unless somebody set it) nobody is woken, unless
-- the setting rowcast.wake says so: ALTER DATABASE … SET rowcast.wake = on. `off` turns it off anywhere.
CREATE SEQUENCE rowcast_lease AS bigint MINVALUE 0 START 0;

DO $do$
BEGIN
    -- The schema is written into the body, so that the function runs with a safe search_path.
    EXECUTE format($sql$
        CREATE FUNCTION rowcast_wake() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
        BEGIN
            IF (SELECT last_value FROM %1$I.rowcast_lease) < now_ms
                AND (CASE current_setting('rowcast.wake', true)
                     WHEN 'on' THEN true
                     WHEN 'off' THEN false
                     ELSE current_setting('max_prepared_transactions')::int = 0
                     END)
            THEN
                -- 100 ms for the feed to wake up in; until then other writers need not notify too.
                PERFORM setval(%2$L, now_ms + 100);
                PERFORM pg_notify('rowcast', '');
            END IF;
            RETURN NULL;
        END
        $body$
    $sql$, current_schema(), format('%I.rowcast_lease', current_schema()));
END
$do$;

CREATE TRIGGER rowcast_wake AFTER INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast_wake();
