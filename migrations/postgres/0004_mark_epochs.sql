-- While events flow the feed renews its epoch's row, and notes the transaction that did so. A standby that has been
-- promoted and has that version of the row has every transaction before it, and gives none of their ids out again: there
-- positions of the primary go on. In a restored dump the number is not that of the transaction that wrote the row (xmin),
-- and counts for nothing.
ALTER TABLE rowcast_epochs ADD COLUMN mark xid8;
