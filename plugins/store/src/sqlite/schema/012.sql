-- Configurations in the order in which they came into force: a process that starts with, or
-- reloads, another configuration than the newest one gets the next generation.
CREATE TABLE configuration (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    hash TEXT NOT NULL
) STRICT;
ALTER TABLE gateway ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- The places of open exchanges in the orders of their deliveries. A delivery of a later event waits for them.
CREATE TABLE order_place (
    webhook INTEGER NOT NULL,
    order_key TEXT NOT NULL,
    event INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (webhook, order_key, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_place_event ON order_place (event);
CREATE INDEX order_place_until ON order_place (until);

-- Deliveries of one order are made in the order in which their events were stored.
DROP INDEX delivery_order;
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, event, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'claimed', 'held');
