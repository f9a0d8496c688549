-- The identity of this store towards its payload places. `file` is the database file that `mark`
-- was created for: a copy gets a mark of its own, so that neither removes what the other writes.
CREATE TABLE store_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid BLOB NOT NULL,
    mark INTEGER NOT NULL,
    file TEXT
) STRICT;
INSERT INTO store_identity (one, uuid, mark) VALUES (1, randomblob(16), random() & 4294967295);

-- The payload roots of the store. Rows name payload files relative to one of them; rows from before
-- this step have a whole path, of which the last two names count.
CREATE TABLE payload_root (
    path TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A payload file is identified by its own name, 36 characters, wherever its root is.
CREATE INDEX event_payload_file ON event (substr(payload_path, -36)) WHERE payload_path IS NOT NULL;
