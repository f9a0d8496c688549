-- The tables. Times are milliseconds since 1970, except those of leases, which follow the
-- database's clock.
--
-- There are no foreign keys: each insert would lock the row it refers to, and all gateways refer to
-- the same few webhooks. The functions keep the tables consistent.

-- The processes that hold claims and open exchanges, alive as long as they renew their lease.
-- Numbers are never reused, so that a row cannot be taken for another process's.
CREATE TABLE owner (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    -- When it returned after its lease had ended: the other processes may need a moment for that
    -- too.
    resumed_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

-- Every webhook that ever had a delivery. `fingerprint` is NULL until its health is stored.
CREATE TABLE webhook (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    disabled text,
    failing_since bigint,
    fingerprint text
);

-- The columns to find an event by, and its verdict. `owner` is set while its outcome is not known.
CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid uuid NOT NULL UNIQUE,
    kind text NOT NULL,
    site text NOT NULL,
    partner text,
    station text,
    message_id text,
    occurred_at bigint NOT NULL,
    owner int,
    -- Taken over from a terminated process.
    adopted boolean NOT NULL DEFAULT false,
    -- The deliveries to make if the outcome is never known, as JSON.
    planned bytea,
    -- Since when none of its deliveries has any work left: pruning uses this.
    idle_since bigint,
    -- Whether one of its deliveries is dead: it was not delivered, so it is kept for its whole time
    -- however many events there are.
    has_dead boolean NOT NULL DEFAULT false,
    -- The file of a large payload, relative to a payload root.
    payload_path text,
    -- The stored length of the payload: of the sealed bytes if it is sealed.
    payload_size bigint,
    -- The id of a payload in pieces, in `piece` or elsewhere.
    payload_pieces uuid,
    -- The length of a sealed payload before it was sealed.
    payload_sealed bigint,
    -- Since when no delivery needs the payload. NULL while one does, and where there is none.
    payload_idle_since bigint,
    -- When the payload was removed. It keeps its `payload_size`.
    payload_spent_at bigint,
    verdict bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX event_open ON event (owner) WHERE owner IS NOT NULL;
CREATE INDEX event_idle ON event (idle_since) WHERE idle_since IS NOT NULL;
CREATE INDEX event_delivered ON event (idle_since, id) WHERE idle_since IS NOT NULL AND NOT has_dead;
-- Partners may send longer values than an index takes.
CREATE INDEX event_message ON event (substr(message_id, 1, 200)) WHERE message_id IS NOT NULL;
CREATE INDEX event_partner ON event (substr(partner, 1, 200), id) WHERE partner IS NOT NULL;
CREATE INDEX event_payload ON event (payload_path) WHERE payload_path IS NOT NULL;
CREATE INDEX event_pieces ON event (payload_pieces) WHERE payload_pieces IS NOT NULL;
-- A payload file is identified by its own name, 36 characters, wherever its root is.
CREATE INDEX event_payload_file ON event ("right"(payload_path, 36)) WHERE payload_path IS NOT NULL;
CREATE INDEX event_payload_idle ON event (payload_idle_since) WHERE payload_idle_since IS NOT NULL;
-- Sums up payloads outside of `content`.
CREATE INDEX event_payload_bytes ON event (payload_size)
    WHERE payload_path IS NOT NULL OR payload_pieces IS NOT NULL;

-- The event's bytes, apart from `event` so that settling it does not write them again.
CREATE TABLE content (
    event bigint PRIMARY KEY,
    body bytea NOT NULL,
    payload bytea
);
-- Partners' data is compressed already, or compressing it costs more time than the space is worth.
ALTER TABLE content ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN payload SET STORAGE EXTERNAL;

-- `blocked`: an earlier delivery of the same webhook and order key has to be done first. Of each
-- such pair at most one delivery is not blocked, the claimed one if there is one. `lane` is the
-- lock for changing that; `ticket` is the claim that took it.
CREATE TABLE delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id text NOT NULL UNIQUE,
    event bigint NOT NULL,
    webhook int NOT NULL,
    mode text NOT NULL,
    order_key text,
    lane int,
    state text NOT NULL,
    blocked boolean NOT NULL DEFAULT false,
    due bigint NOT NULL,
    owner int,
    ticket bigint,
    attempts int NOT NULL DEFAULT 0,
    tries int NOT NULL DEFAULT 0,
    replay boolean NOT NULL DEFAULT false,
    occurred_at bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX delivery_event ON delivery (event);
-- Replays are claimed after other deliveries: each kind by its own part of the index.
CREATE INDEX delivery_due ON delivery (webhook, replay, due, id) WHERE state = 'pending' AND NOT blocked;
CREATE INDEX delivery_blocked ON delivery (webhook) WHERE state = 'pending' AND blocked;
CREATE INDEX delivery_claimed ON delivery (owner, ticket) WHERE owner IS NOT NULL;
CREATE INDEX delivery_parked ON delivery (webhook, state) WHERE state IN ('held', 'orphaned', 'dead');
-- Deliveries of one order are made in the order in which their events were stored.
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, event, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'claimed', 'held');
CREATE INDEX delivery_undelivered ON delivery (occurred_at) WHERE state IN ('pending', 'claimed');

-- The places of open exchanges in the orders of their deliveries. A delivery of a later event waits
-- for them. `lane` is the lock under which they are changed.
CREATE TABLE order_place (
    webhook int NOT NULL,
    order_key text NOT NULL,
    event bigint NOT NULL,
    lane int NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (webhook, order_key, event)
);
CREATE INDEX order_place_event ON order_place (event);
CREATE INDEX order_place_until ON order_place (until);

-- One row for each attempt; `state` and `next_at` are its outcome for the delivery.
CREATE TABLE attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery bigint NOT NULL,
    webhook int NOT NULL,
    number int NOT NULL,
    at bigint NOT NULL,
    url text NOT NULL,
    http_code int,
    error text,
    duration_ms bigint NOT NULL,
    state text NOT NULL,
    next_at bigint,
    UNIQUE (delivery, number)
);
CREATE INDEX attempt_webhook ON attempt (webhook, id);

-- How many deliveries are in each state, as a list of changes: gateways would wait for each other
-- if all updated the same rows. The changes are summed up periodically. 'bytes' are those of
-- `content`, with 1 KiB for the other rows of each event: the sizes of relations would not shrink
-- when rows are removed.
CREATE TABLE tally (
    state text NOT NULL,
    n bigint NOT NULL
);
CREATE FUNCTION content_bytes(body bytea, payload bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT 1024 + octet_length(body) + coalesce(octet_length(payload), 0)
$$;
CREATE FUNCTION content_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) VALUES ('bytes', content_bytes(NEW.body, NEW.payload));
    RETURN NULL;
END $$;
CREATE FUNCTION content_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) SELECT 'bytes', -sum(content_bytes(body, payload)) FROM gone
        HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION content_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) VALUES ('bytes',
        content_bytes(NEW.body, NEW.payload) - content_bytes(OLD.body, OLD.payload));
    RETURN NULL;
END $$;
CREATE TRIGGER content_added AFTER INSERT ON content
    FOR EACH ROW EXECUTE FUNCTION content_added();
CREATE TRIGGER content_removed AFTER DELETE ON content REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION content_removed();
CREATE TRIGGER content_changed AFTER UPDATE ON content
    FOR EACH ROW EXECUTE FUNCTION content_changed();

-- The webhooks that partners have over the config API. `secret` is sealed by the gateway, and empty
-- when there is none; `events` is a JSON list, empty when none was chosen.
CREATE TABLE partner_webhook (
    site text NOT NULL,
    partner bigint NOT NULL,
    url text NOT NULL,
    secret bytea NOT NULL,
    enabled boolean NOT NULL,
    events text NOT NULL,
    changed_at bigint NOT NULL,
    PRIMARY KEY (site, partner)
);

-- Small records beside events, each under a key of its owner.
CREATE TABLE note (
    key text PRIMARY KEY,
    body bytea NOT NULL,
    -- When it is to be handled.
    due bigint,
    expires bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX note_due ON note (due) WHERE due IS NOT NULL;
CREATE INDEX note_expires ON note (expires);
-- The number of records whose keys begin with the same 21 characters is limited.
CREATE INDEX note_group ON note (substr(key, 1, 21), expires);

-- Large payloads.
CREATE TABLE piece (
    payload uuid NOT NULL,
    number int NOT NULL,
    bytes bytea NOT NULL,
    written_at bigint NOT NULL,
    PRIMARY KEY (payload, number)
);
ALTER TABLE piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX piece_first ON piece (payload) WHERE number = 0;

-- The last report of each process that has the store open.
CREATE TABLE gateway (
    uuid uuid PRIMARY KEY,
    host text NOT NULL,
    process bigint NOT NULL,
    version text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    rules text NOT NULL,
    generation bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Configurations in the order in which they came into force: a process that starts with, or
-- reloads, another configuration than the newest one gets the next generation.
CREATE TABLE configuration (
    generation bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text NOT NULL
);

-- The identity of this store towards its payload places. `database` is the one that `mark` was
-- created for: a copy gets a mark of its own, so that neither removes what the other writes.
CREATE TABLE store_identity (
    one int PRIMARY KEY CHECK (one = 1),
    uuid uuid NOT NULL,
    mark bigint NOT NULL,
    database text
);
INSERT INTO store_identity (one, uuid, mark)
    VALUES (1, gen_random_uuid(), floor(random() * 4294967296)::bigint);

-- The payload roots of its gateways. Rows name payload files relative to one of them.
CREATE TABLE payload_root (
    path text PRIMARY KEY,
    used_at bigint NOT NULL
);
