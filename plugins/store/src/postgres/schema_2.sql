-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked boolean NOT NULL DEFAULT false;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
