-- Replays are claimed after other deliveries: each kind by its own part of the index.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (webhook, replay, due, id)
    WHERE state = 'pending' AND blocked = 0 AND owner IS NULL;
