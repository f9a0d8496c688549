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
    payload_path text,
    payload_size bigint,
    payload_pieces uuid,
    -- The length of a sealed payload before it was sealed. `payload_size` is that of the sealed
    -- bytes.
    payload_sealed bigint,
    -- Since when no delivery needs the payload. NULL while one does, and where there is none.
    payload_idle_since bigint,
    -- When it was removed. It keeps its `payload_size`.
    payload_spent_at bigint,
    verdict bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX event_open ON event (owner) WHERE owner IS NOT NULL;
CREATE INDEX event_idle ON event (idle_since) WHERE idle_since IS NOT NULL;
-- Partners may send longer values than an index takes.
CREATE INDEX event_delivered ON event (idle_since, id) WHERE idle_since IS NOT NULL AND NOT has_dead;
CREATE INDEX event_payload_idle ON event (payload_idle_since) WHERE payload_idle_since IS NOT NULL;
CREATE INDEX event_message ON event (left(message_id, 200)) WHERE message_id IS NOT NULL;
CREATE INDEX event_partner ON event (left(partner, 200), id) WHERE partner IS NOT NULL;
CREATE INDEX event_payload ON event (payload_path) WHERE payload_path IS NOT NULL;
CREATE INDEX event_pieces ON event (payload_pieces) WHERE payload_pieces IS NOT NULL;

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
CREATE INDEX delivery_due ON delivery (webhook, due, id) WHERE state = 'pending' AND NOT blocked;
CREATE INDEX delivery_blocked ON delivery (webhook) WHERE state = 'pending' AND blocked;
CREATE INDEX delivery_claimed ON delivery (owner, ticket) WHERE owner IS NOT NULL;
CREATE INDEX delivery_parked ON delivery (webhook, state) WHERE state IN ('held', 'orphaned', 'dead');
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'claimed', 'held');
CREATE INDEX delivery_undelivered ON delivery (occurred_at) WHERE state IN ('pending', 'claimed');

-- How many deliveries are in each state, as a list of changes: gateways would wait for each other
-- if all updated the same rows. The changes are summed up periodically.
CREATE TABLE tally (
    state text NOT NULL,
    n bigint NOT NULL
);

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

-- The last report of each process that has the store open.
CREATE TABLE gateway (
    uuid uuid PRIMARY KEY,
    host text NOT NULL,
    process bigint NOT NULL,
    version text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    rules text NOT NULL
) WITH (fillfactor = 50);

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
