-- A delivery is claimed when it has an owner; its state stays 'pending' meanwhile. A claim moves
-- the entry of one index and changes no count. Rows claimed earlier still have 'claimed' until they
-- are finished or released: an older process may hold them during this step.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (webhook, due, id)
    WHERE state = 'pending' AND blocked = 0 AND owner IS NULL;

-- The code that adds and moves deliveries maintains the numbers of `tally`.
DROP TRIGGER delivery_added;
DROP TRIGGER delivery_moved;
