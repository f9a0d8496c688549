-- `asked`: the next attempt was asked for, and is none of the schedule's. `extra`: how many such attempts there
-- were since the schedule began.
ALTER TABLE delivery ADD COLUMN asked boolean NOT NULL DEFAULT false;
ALTER TABLE delivery ADD COLUMN extra int NOT NULL DEFAULT 0;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about text;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
-- The name of the first attachment that has one; the codes of processing errors, as in ",800,900,".
ALTER TABLE event ADD COLUMN file_name text;
ALTER TABLE event ADD COLUMN errors text;
CREATE INDEX event_file ON event (substr(file_name, 1, 200)) WHERE file_name IS NOT NULL;
CREATE INDEX event_errors ON event (id) WHERE errors IS NOT NULL;
-- Every list is one site's.
CREATE INDEX event_kind ON event (site, kind, id);
CREATE INDEX event_station ON event (site, substr(station, 1, 200), id) WHERE station IS NOT NULL;
CREATE INDEX delivery_webhook ON delivery ((webhook + 0), id);
-- What callers of the API did.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    token text NOT NULL,
    site text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    result text NOT NULL
);
CREATE INDEX audit_site ON audit (site, id);
