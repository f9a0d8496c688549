-- Small records beside events, each under a key of its owner.
CREATE TABLE note (
    key TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    -- When it is to be handled.
    due INTEGER,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX note_due ON note (due) WHERE due IS NOT NULL;
CREATE INDEX note_expires ON note (expires);
