-- A delivery is claimed when it has an owner; its state stays 'pending' meanwhile. So a claim moves
-- the entry of one index and counts nothing anew. Rows that were claimed before still say 'claimed'
-- until they are finished or freed: an older process may hold them while this step is taken.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (webhook, due, id)
    WHERE state = 'pending' AND blocked = 0 AND owner IS NULL;

-- The numbers of `tally` are kept by those who add and move deliveries.
DROP TRIGGER delivery_added;
DROP TRIGGER delivery_moved;
