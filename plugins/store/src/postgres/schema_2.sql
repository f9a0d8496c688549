-- A delivery's next attempt was asked for: it is none of the schedule's.
ALTER TABLE delivery ADD COLUMN asked boolean NOT NULL DEFAULT false;
CREATE INDEX delivery_cancelled ON delivery (webhook) WHERE state = 'cancelled';
-- The Message-ID of the message that an MDN is about.
ALTER TABLE event ADD COLUMN about text;
CREATE INDEX event_about ON event (substr(about, 1, 200)) WHERE about IS NOT NULL;
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
