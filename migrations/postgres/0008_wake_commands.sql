-- Wakes those who follow commands: without it a server hears of another one's within its poll interval. There is no lease as for
-- events: commands are few, servers write most of them, and each is to be heard of at once.
--
-- A transaction that has notified cannot be prepared. So, as for events, nobody is woken where PREPARE TRANSACTION is possible
-- (max_prepared_transactions), unless the setting rowcast.wake is `on`; `off` turns it off anywhere. It touches no table, so it
-- needs no rights but the writer's.
CREATE FUNCTION rowcast_wake_commands() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF (CASE current_setting('rowcast.wake', true)
        WHEN 'on' THEN true
        WHEN 'off' THEN false
        ELSE current_setting('max_prepared_transactions')::int = 0
        END)
    THEN
        PERFORM pg_notify('rowcast_commands', '');
    END IF;
    RETURN NULL;
END
$body$;

CREATE TRIGGER rowcast_wake_commands AFTER INSERT ON rowcast_commands
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast_wake_commands();
