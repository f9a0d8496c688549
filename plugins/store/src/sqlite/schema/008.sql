-- The length of a sealed payload before it was sealed. `payload_size` is that of the sealed bytes.
ALTER TABLE event ADD COLUMN payload_sealed INTEGER;
-- Since when no delivery needs the payload. NULL while one does, and where there is none.
ALTER TABLE event ADD COLUMN payload_idle_since INTEGER;
-- When it was removed. It keeps its `payload_size`.
ALTER TABLE event ADD COLUMN payload_spent_at INTEGER;
CREATE INDEX event_payload_idle ON event (payload_idle_since) WHERE payload_idle_since IS NOT NULL;

UPDATE event SET payload_idle_since = unixepoch() * 1000
WHERE payload_size IS NOT NULL AND owner IS NULL AND NOT EXISTS
    (SELECT 1 FROM delivery WHERE event = event.id AND mode = 'raw' AND state <> 'delivered');
