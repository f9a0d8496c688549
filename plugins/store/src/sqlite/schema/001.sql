-- Times are milliseconds since 1970.

-- The processes that hold claims and open exchanges, alive as long as their lock file is locked.
-- Numbers are never reused, so that a row cannot be taken for another process's.
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
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
    planned TEXT,
    -- Since when none of its deliveries has any work left: pruning uses this.
    idle_since INTEGER,
    payload_path TEXT,
    payload_size INTEGER,
    verdict BLOB
) STRICT;
CREATE INDEX event_open ON event (owner) WHERE owner IS NOT NULL;
CREATE INDEX event_idle ON event (idle_since) WHERE idle_since IS NOT NULL;
CREATE INDEX event_message ON event (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX event_partner ON event (partner) WHERE partner IS NOT NULL;
CREATE INDEX event_payload ON event (payload_path) WHERE payload_path IS NOT NULL;

-- The event's bytes, apart from `event` so that settling it does not write them again.
CREATE TABLE content (
    event INTEGER PRIMARY KEY REFERENCES event (id),
    body BLOB NOT NULL,
    payload BLOB
) STRICT;

-- `blocked`: an earlier delivery of the same webhook and order key has to be done first. Of each
-- such pair at most one delivery is not blocked, the claimed one if there is one.
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
    attempts INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    replay INTEGER NOT NULL DEFAULT 0,
    occurred_at INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_event ON delivery (event);
CREATE INDEX delivery_due ON delivery (webhook, due, id) WHERE state = 'pending' AND blocked = 0;
CREATE INDEX delivery_blocked ON delivery (webhook) WHERE state = 'pending' AND blocked = 1;
CREATE INDEX delivery_claimed ON delivery (owner) WHERE owner IS NOT NULL;
CREATE INDEX delivery_parked ON delivery (webhook, state) WHERE state IN ('held', 'orphaned', 'dead');
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'claimed', 'held');
CREATE INDEX delivery_undelivered ON delivery (occurred_at) WHERE state IN ('pending', 'claimed');

-- How many deliveries are in each state: counting millions takes too long for a status page.
CREATE TABLE tally (
    state TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tally (state, n) VALUES
    ('pending', 0), ('claimed', 0), ('delivered', 0), ('dead', 0), ('held', 0), ('orphaned', 0);
CREATE TRIGGER delivery_added AFTER INSERT ON delivery BEGIN
    UPDATE tally SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER delivery_moved AFTER UPDATE OF state ON delivery WHEN OLD.state <> NEW.state BEGIN
    UPDATE tally SET n = n - 1 WHERE state = OLD.state;
    UPDATE tally SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery BEGIN
    UPDATE tally SET n = n - 1 WHERE state = OLD.state;
END;

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
