-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
INSERT INTO tally (state, n) VALUES ('cancelled', 0);
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about TEXT;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
