-- The number of notes whose keys begin with the same 21 characters is limited.
CREATE INDEX note_group ON note (substr(key, 1, 21), expires);
-- The sum of payloads outside of the database is read from indexes only.
DROP INDEX event_payload;
CREATE INDEX event_payload ON event (payload_path, payload_size) WHERE payload_path IS NOT NULL;
DROP INDEX event_pieces;
CREATE INDEX event_pieces ON event (payload_pieces, payload_size) WHERE payload_pieces IS NOT NULL;
-- A long id would take a page of its own in the index.
DROP INDEX event_message;
CREATE INDEX event_message ON event (substr(message_id, 1, 200)) WHERE message_id IS NOT NULL;
