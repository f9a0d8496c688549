-- `asked`: the next attempt was asked for, and is none of the schedule's. `extra`: how many such attempts there
-- were since the schedule began.
ALTER TABLE delivery ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN extra INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
INSERT INTO tally (state, n) VALUES ('cancelled', 0);
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about TEXT;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
-- The name of the first attachment that has one; the codes of processing errors, as in ",800,900,".
ALTER TABLE event ADD COLUMN file_name TEXT;
ALTER TABLE event ADD COLUMN errors TEXT;
CREATE INDEX event_file ON event (substr(file_name, 1, 200)) WHERE file_name IS NOT NULL;
CREATE INDEX event_errors ON event (id) WHERE errors IS NOT NULL;
-- Every list is one site's.
CREATE INDEX event_kind ON event (site, kind);
CREATE INDEX event_station ON event (site, substr(station, 1, 200)) WHERE station IS NOT NULL;
-- As an expression, so that SQLite takes it for no other statement: those about open deliveries have smaller indexes.
CREATE INDEX delivery_webhook ON delivery (webhook + 0);
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
