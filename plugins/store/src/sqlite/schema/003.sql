-- Small things remembered beside events, each under a key that its owner made.
CREATE TABLE note (
    key TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    -- When somebody is to look at it again.
    due INTEGER,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX note_due ON note (due) WHERE due IS NOT NULL;
CREATE INDEX note_expires ON note (expires);
