-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
INSERT INTO tally (state, n) VALUES ('cancelled', 0);
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about TEXT;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
-- What callers of the API did.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    token TEXT NOT NULL,
    site TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT;
CREATE INDEX audit_site ON audit (site, id);
