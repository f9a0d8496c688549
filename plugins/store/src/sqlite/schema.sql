-- Times are milliseconds since 1970.

-- The processes that hold claims and open exchanges, alive as long as the byte of their number is
-- locked in this file.
-- Numbers are never reused, so that a row cannot be taken for another process's.
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at INTEGER NOT NULL
) STRICT;

-- Every webhook that ever had a delivery. `fingerprint` is NULL until its health is stored.
CREATE TABLE webhook (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    disabled TEXT,
    failing_since INTEGER,
    fingerprint TEXT
) STRICT;

-- The columns to find an event by, and its verdict. `owner` is set while its outcome is not known.
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    site TEXT NOT NULL,
    partner TEXT,
    station TEXT,
    message_id TEXT,
    occurred_at INTEGER NOT NULL,
    owner INTEGER REFERENCES owner (id),
    -- Taken over from a terminated process.
    adopted INTEGER NOT NULL DEFAULT 0,
    -- The deliveries to make if the outcome is never known, as JSON.
    planned BLOB,
    -- Since when none of its deliveries has any work left: pruning uses this.
    idle_since INTEGER,
    -- Whether one of its deliveries is dead: it was not delivered, so it is kept for its whole time
    -- however many events there are.
    has_dead INTEGER NOT NULL DEFAULT 0,
    -- The file of a large payload, relative to a payload root.
    payload_path TEXT,
    -- The stored length of the payload: of the sealed bytes if it is sealed.
    payload_size INTEGER,
    -- The id of a payload in pieces elsewhere.
    payload_pieces BLOB,
    -- The length of a sealed payload before it was sealed.
    payload_sealed INTEGER,
    -- Since when no delivery needs the payload. NULL while one does, and where there is none.
    payload_idle_since INTEGER,
    -- When the payload was removed. It keeps its `payload_size`.
    payload_spent_at INTEGER,
    verdict BLOB
) STRICT;
CREATE INDEX event_open ON event (owner) WHERE owner IS NOT NULL;
CREATE INDEX event_idle ON event (idle_since) WHERE idle_since IS NOT NULL;
CREATE INDEX event_delivered ON event (idle_since) WHERE idle_since IS NOT NULL AND has_dead = 0;
-- Partners may send long values, which would take pages of their own in an index.
CREATE INDEX event_message ON event (substr(message_id, 1, 200)) WHERE message_id IS NOT NULL;
CREATE INDEX event_partner ON event (substr(partner, 1, 200)) WHERE partner IS NOT NULL;
-- The sum of payloads outside of the database is read from indexes only.
CREATE INDEX event_payload ON event (payload_path, payload_size) WHERE payload_path IS NOT NULL;
CREATE INDEX event_pieces ON event (payload_pieces, payload_size) WHERE payload_pieces IS NOT NULL;
-- A payload file is identified by its own name, 36 characters, wherever its root is.
CREATE INDEX event_payload_file ON event (substr(payload_path, -36)) WHERE payload_path IS NOT NULL;
CREATE INDEX event_payload_idle ON event (payload_idle_since) WHERE payload_idle_since IS NOT NULL;

-- The event's bytes, apart from `event` so that settling it does not write them again.
CREATE TABLE content (
    event INTEGER PRIMARY KEY REFERENCES event (id),
    body BLOB NOT NULL,
    payload BLOB
) STRICT;

-- `blocked`: an earlier delivery of the same webhook and order key has to be done first. Of each
-- such pair at most one delivery is not blocked, the claimed one if there is one.
--
-- A claimed delivery has an owner and stays 'pending': a claim moves the entry of one index and
-- changes no count. `ticket` is the claim that took it.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL UNIQUE,
    event INTEGER NOT NULL REFERENCES event (id),
    webhook INTEGER NOT NULL REFERENCES webhook (id),
    mode TEXT NOT NULL,
    order_key TEXT,
    state TEXT NOT NULL,
    blocked INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL,
    owner INTEGER REFERENCES owner (id),
    ticket INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    replay INTEGER NOT NULL DEFAULT 0,
    occurred_at INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_event ON delivery (event);
-- Replays are claimed after other deliveries: each kind by its own part of the index.
CREATE INDEX delivery_due ON delivery (webhook, replay, due, id)
    WHERE state = 'pending' AND blocked = 0 AND owner IS NULL;
CREATE INDEX delivery_blocked ON delivery (webhook) WHERE state = 'pending' AND blocked = 1;
CREATE INDEX delivery_claimed ON delivery (owner, ticket) WHERE owner IS NOT NULL;
CREATE INDEX delivery_parked ON delivery (webhook, state) WHERE state IN ('held', 'orphaned', 'dead');
-- Deliveries of one order are made in the order in which their events were stored.
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, event, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'held');
CREATE INDEX delivery_undelivered ON delivery (occurred_at) WHERE state IN ('pending', 'claimed');

-- The places of open exchanges in the orders of their deliveries. A delivery of a later event waits
-- for them.
CREATE TABLE order_place (
    webhook INTEGER NOT NULL,
    order_key TEXT NOT NULL,
    event INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (webhook, order_key, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_place_event ON order_place (event);
CREATE INDEX order_place_until ON order_place (until);

-- How many deliveries are in each state: counting millions takes too long for a status page. The
-- code that adds and moves deliveries maintains the numbers.
CREATE TABLE tally (
    state TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tally (state, n) VALUES
    ('pending', 0), ('delivered', 0), ('dead', 0), ('held', 0), ('orphaned', 0);

-- One row for each attempt; `state` and `next_at` are its outcome for the delivery.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery INTEGER NOT NULL REFERENCES delivery (id),
    webhook INTEGER NOT NULL REFERENCES webhook (id),
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    url TEXT NOT NULL,
    http_code INTEGER,
    error TEXT,
    duration_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    next_at INTEGER,
    UNIQUE (delivery, number)
) STRICT;
CREATE INDEX attempt_webhook ON attempt (webhook, id);

-- The webhooks that partners have over the config API. `secret` is sealed by the gateway, and empty
-- when there is none; `events` is a JSON list, empty when none was chosen.
CREATE TABLE partner_webhook (
    site TEXT NOT NULL,
    partner INTEGER NOT NULL,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    enabled INTEGER NOT NULL,
    events TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (site, partner)
) STRICT, WITHOUT ROWID;

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
-- The number of records whose keys begin with the same 21 characters is limited.
CREATE INDEX note_group ON note (substr(key, 1, 21), expires);

-- The last report of each process that has the store open.
CREATE TABLE gateway (
    uuid BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    process INTEGER NOT NULL,
    version TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    rules TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Configurations in the order in which they came into force: a process that starts with, or
-- reloads, another configuration than the newest one gets the next generation.
CREATE TABLE configuration (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    hash TEXT NOT NULL
) STRICT;

-- The identity of this store towards its payload places. `file` is the database file that `mark`
-- was created for: a copy gets a mark of its own, so that neither removes what the other writes.
CREATE TABLE store_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid BLOB NOT NULL,
    mark INTEGER NOT NULL,
    file TEXT
) STRICT;
INSERT INTO store_identity (one, uuid, mark) VALUES (1, randomblob(16), random() & 4294967295);

-- The payload roots that the store has had. Rows name payload files relative to one of them.
CREATE TABLE payload_root (
    path TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
