-- The id of a payload in pieces elsewhere. Its length is in `payload_size`.
ALTER TABLE event ADD COLUMN payload_pieces BLOB;
CREATE INDEX event_pieces ON event (payload_pieces) WHERE payload_pieces IS NOT NULL;

-- The last report of each process that has the store open.
CREATE TABLE gateway (
    uuid BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    process INTEGER NOT NULL,
    version TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    rules TEXT NOT NULL
) STRICT, WITHOUT ROWID;
