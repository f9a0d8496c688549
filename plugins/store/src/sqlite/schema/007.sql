-- Whether one of its deliveries is dead: it was not delivered, so it is kept for its whole time
-- however many events there are.
ALTER TABLE event ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;
UPDATE event SET dead = 1 WHERE id IN (SELECT event FROM delivery
    WHERE state IN ('held', 'orphaned', 'dead') AND state = 'dead');
CREATE INDEX event_delivered ON event (idle_since) WHERE idle_since IS NOT NULL AND dead = 0;
