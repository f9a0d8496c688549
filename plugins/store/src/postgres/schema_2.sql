-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked boolean NOT NULL DEFAULT false;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about text;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
