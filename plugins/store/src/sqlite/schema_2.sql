-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
INSERT INTO tally (state, n) VALUES ('cancelled', 0);
