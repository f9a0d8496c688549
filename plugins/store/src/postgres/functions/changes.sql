-- Changes of deliveries, webhooks and gateways outside of a group; and what they share with it.

-- Adds deliveries to an event whose outcome is known. Returns how many are new; NULL when there is no such
-- event.
CREATE FUNCTION enqueue(wanted uuid, deliveries jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    found_event record;
    added int;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (d->>'lane')::int FROM jsonb_array_elements(deliveries) AS d));
    SELECT id, occurred_at INTO found_event FROM event WHERE uuid = wanted AND owner IS NULL
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    added := add_deliveries(found_event.id, found_event.occurred_at, deliveries);
    IF added > 0 THEN
        INSERT INTO tally (state, n) VALUES ('pending', added);
        PERFORM notify_gateways('due', d->>'webhook') FROM jsonb_array_elements(deliveries) AS d;
        PERFORM mark_busy(ARRAY[found_event.id]);
    ELSE
        -- It has delivered events before: its idle time stays.
        PERFORM mark_idle(ARRAY[id]) FROM event WHERE id = found_event.id AND idle_since IS NULL;
    END IF;
    RETURN added;
END $$;

-- Stores a delivery that was made outside the queue.
CREATE FUNCTION record_made(e jsonb, deliveries jsonb, a jsonb, ended text, blobs bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    made record;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (d->>'lane')::int FROM jsonb_array_elements(deliveries) AS d));
    number := add_event(NULL, e, blobs, false);
    IF number IS NULL OR add_deliveries(number, (e->>'occurred_at')::bigint, deliveries) = 0 THEN
        RETURN;
    END IF;
    UPDATE delivery SET state = ended, attempts = 1, tries = 1, blocked = false
        WHERE event = number RETURNING id, webhook INTO made;
    INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error, duration_ms, state)
    VALUES (made.id, made.webhook, (a->>'number')::int, (a->>'at')::bigint, a->>'url',
        (a->>'http_code')::int, a->>'error', (a->>'duration_ms')::bigint, ended);
    INSERT INTO tally (state, n) VALUES (ended, 1);
    PERFORM mark_idle(ARRAY[number]);
END $$;

-- Whether a running gateway (`GatewayReport::ALIVE_MS`) has a newer configuration than this one.
-- None gets one before this transaction ends.
CREATE FUNCTION is_outdated(mine bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF mine = 0 THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(1634882404, 1);
    -- A report in the future was made before the clock was set back.
    PERFORM 1 FROM gateway
        WHERE generation > mine AND seen_at BETWEEN clock_ms() - 30000 AND clock_ms() + 30000;
    RETURN FOUND;
END $$;

-- Records since when events have no work left, if they have none. Each is locked first: two
-- transactions that finish the last two deliveries of an event at once must not both see the
-- other's as unfinished.
CREATE FUNCTION mark_idle(events bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM event WHERE id = ANY (events) ORDER BY id FOR NO KEY UPDATE;
    UPDATE event SET idle_since = clock_ms(),
        has_dead = EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 'dead')
    WHERE id = ANY (events) AND owner IS NULL AND NOT EXISTS
        (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state NOT IN ('delivered', 'dead'));
    PERFORM mark_payloads(events);
END $$;

-- Records that events have work again.
CREATE FUNCTION mark_busy(events bigint[]) RETURNS void LANGUAGE sql AS $$
    UPDATE event SET idle_since = NULL WHERE id = ANY (events) AND idle_since IS NOT NULL;
    SELECT mark_payloads(events);
$$;

-- Records since when no delivery needs the payloads of events, or that one does. A delivery that is
-- dead, held or orphaned still needs it.
CREATE FUNCTION mark_payloads(events bigint[]) RETURNS void LANGUAGE sql AS $$
    UPDATE event e SET payload_idle_since = CASE WHEN EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = e.id AND d.mode = 'raw' AND d.state <> 'delivered')
        THEN NULL ELSE coalesce(payload_idle_since, clock_ms()) END
    WHERE id = ANY (events) AND owner IS NULL AND payload_size IS NOT NULL
        AND payload_spent_at IS NULL
$$;

-- Returns the number of a webhook, which is created if necessary.
CREATE FUNCTION webhook_number(wanted text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    number int;
BEGIN
    SELECT id INTO number FROM webhook WHERE name = wanted;
    IF number IS NULL THEN
        INSERT INTO webhook (name) VALUES (wanted) ON CONFLICT (name) DO NOTHING;
        SELECT id INTO STRICT number FROM webhook WHERE name = wanted;
    END IF;
    RETURN number;
END $$;

-- Notifies the other gateways when the transaction is committed. Each such commit waits for every
-- other one in the whole cluster, so no call in a message's path uses it.
CREATE FUNCTION notify_gateways(what text, name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF octet_length(name) > 7000 THEN
        PERFORM pg_notify(current_schema(), 'all:');
    ELSE
        PERFORM pg_notify(current_schema(), what || ':' || name);
    END IF;
END $$;

-- The time, in milliseconds since 1970.
CREATE FUNCTION clock_ms() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- Identifies the database, wherever it is: a copy of it is another one.
CREATE FUNCTION this_database() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid
    FROM pg_database WHERE datname = current_database()
$$;
