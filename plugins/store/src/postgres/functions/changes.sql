-- Changes of deliveries, webhooks and gateways outside of a group; and what they share with it.

-- Moves up to `most` of a webhook's deliveries, of those up to number `upto`, from one state to
-- another. Returns how many; NULL when none of them is left; -1, and moves nothing, when the
-- configuration `mine` is not the newest.
CREATE FUNCTION change_state(mine bigint, name_of text, from_state text, to_state text, at bigint,
    most bigint, upto bigint)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    hook int;
    unfinished text[] := ARRAY['pending', 'claimed', 'held'];
    finished text[] := ARRAY['delivered', 'dead'];
    ids bigint[];
    moved int;
    events bigint[];
    lines jsonb;
BEGIN
    IF is_outdated(mine) THEN
        RETURN -1;
    END IF;
    SELECT id INTO hook FROM webhook WHERE name = name_of;
    IF hook IS NULL OR from_state = to_state THEN
        RETURN NULL;
    END IF;
    ids := deliveries_in(hook, from_state, most, upto);
    IF ids = '{}' THEN
        RETURN NULL;
    END IF;
    PERFORM lock_lanes(ARRAY(SELECT lane FROM delivery WHERE id = ANY (ids) AND lane IS NOT NULL));
    IF from_state = ANY (finished) OR to_state = ANY (finished) THEN
        PERFORM 1 FROM event WHERE id IN (SELECT event FROM delivery WHERE id = ANY (ids))
            ORDER BY id FOR NO KEY UPDATE;
    END IF;
    WITH changed AS (
        UPDATE delivery SET state = to_state, owner = NULL, ticket = NULL,
            due = CASE WHEN to_state = 'pending' THEN least(due, at) ELSE due END
        WHERE id = ANY (ids) AND state = from_state RETURNING event, order_key
    )
    SELECT count(*), array_agg(event), jsonb_agg(DISTINCT jsonb_build_array(hook, order_key))
        FILTER (WHERE order_key IS NOT NULL)
    INTO moved, events, lines FROM changed;
    IF moved = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO tally (state, n) VALUES (from_state, -moved), (to_state, moved);
    IF to_state = ANY (finished) THEN
        PERFORM mark_idle(events);
    ELSIF from_state = ANY (finished) THEN
        PERFORM mark_busy(events);
    END IF;
    IF NOT (from_state = ANY (unfinished) AND to_state = ANY (unfinished)) THEN
        PERFORM reorder_all(coalesce(lines, '[]'));
    END IF;
    IF to_state = 'pending' THEN
        PERFORM notify_gateways('due', name_of);
    END IF;
    RETURN moved;
END $$;

-- Returns the numbers of a webhook's deliveries in a state, at most `most` of those up to `upto`;
-- by an index that a delivery leaves when it changes its state, and not by their number (hence the
-- zero).
CREATE FUNCTION deliveries_in(hook int, wanted text, most bigint, upto bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    CASE wanted
        WHEN 'pending' THEN
            RETURN ARRAY(
                SELECT id FROM delivery WHERE webhook = hook AND state = 'pending' AND NOT blocked
                    AND id + 0 <= upto
                UNION ALL
                SELECT id FROM delivery WHERE webhook = hook AND state = 'pending' AND blocked
                    AND id + 0 <= upto
                LIMIT most);
        WHEN 'claimed' THEN
            RETURN ARRAY(SELECT id FROM delivery WHERE owner IS NOT NULL AND webhook = hook
                AND state = 'claimed' AND id + 0 <= upto LIMIT most);
        WHEN 'held', 'orphaned', 'dead' THEN
            RETURN ARRAY(SELECT id FROM delivery WHERE state IN ('held', 'orphaned', 'dead')
                AND webhook = hook AND state = wanted AND id + 0 <= upto LIMIT most);
        ELSE
            RETURN ARRAY(SELECT id FROM delivery
                WHERE webhook = hook AND state = 'delivered' AND id + 0 <= upto LIMIT most);
    END CASE;
END $$;

-- Makes deliveries due again, from the beginning of their retry schedule. Returns how many. Steps of
-- thousands follow each other, so rows that are changed are not locked separately before: the change
-- of an event, after which no other transaction can remove it or mark it as idle, comes first, in the
-- order of their numbers as everywhere.
CREATE FUNCTION replay(ids bigint[], at bigint) RETURNS int LANGUAGE plpgsql
SET enable_bitmapscan TO off SET enable_seqscan TO off AS $$
DECLARE
    replayed int;
    events bigint[] := ARRAY(SELECT DISTINCT event FROM delivery WHERE id = ANY (ids) ORDER BY event);
    changed bigint[];
    hooks int[];
    lines jsonb;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT lane FROM delivery WHERE id = ANY (ids) AND lane IS NOT NULL));
    WITH busy AS (
        UPDATE event SET idle_since = NULL WHERE id = ANY (events) AND idle_since IS NOT NULL RETURNING id
    ) SELECT array_agg(id) INTO changed FROM busy;
    PERFORM 1 FROM event WHERE id IN (SELECT unnest(events) EXCEPT SELECT unnest(changed))
        ORDER BY id FOR NO KEY UPDATE;
    WITH replayed AS (
        UPDATE delivery d SET state = 'pending', due = at, tries = 0, replay = true,
            blocked = order_key IS NOT NULL
        FROM (SELECT id, state FROM delivery
            WHERE id = ANY (ids) AND state IN ('delivered', 'dead', 'orphaned')) old
        -- A delivery changed meanwhile has another state than the one it was found in.
        WHERE d.id = old.id AND d.state = old.state
        RETURNING d.webhook, d.order_key, old.state AS was
    ), counted AS (
        INSERT INTO tally (state, n)
        SELECT was, -count(*) FROM replayed GROUP BY was
        UNION ALL SELECT 'pending', count(*) FROM replayed HAVING count(*) > 0
    )
    SELECT count(*), array_agg(DISTINCT webhook),
        jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) FILTER (WHERE order_key IS NOT NULL)
    INTO replayed, hooks, lines FROM replayed;
    IF replayed > 0 THEN
        PERFORM mark_payloads(events);
        PERFORM reorder_all(coalesce(lines, '[]'));
        PERFORM notify_gateways('due', name) FROM webhook WHERE id = ANY (hooks);
    END IF;
    RETURN replayed;
END $$;

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

-- Stores a webhook's health. Returns false, and stores nothing, when the configuration `mine` is not
-- the newest.
CREATE FUNCTION set_webhook_state(mine bigint, name_of text, why text, since bigint,
    its_fingerprint text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    number int;
BEGIN
    IF is_outdated(mine) THEN
        RETURN false;
    END IF;
    number := webhook_number(name_of);
    UPDATE webhook SET disabled = why, failing_since = since, fingerprint = its_fingerprint
        WHERE id = number;
    PERFORM notify_gateways('state', name_of);
    RETURN true;
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

-- Replaces a gateway's report, and removes gateways that have not reported for a day. `seen` is
-- replaced by the database's clock, which is the same for all; 0 means that it has terminated.
-- Returns the generation of the gateway's configuration: that of the newest one with the same hash;
-- the next one if `had` is 0, which means that the configuration is new there; otherwise `had`. A
-- gateway's generation does not change during a step of `change_state` or `set_webhook_state`.
CREATE FUNCTION report(id uuid, its_host text, its_process bigint, its_version text,
    started bigint, seen bigint, its_rules text, had bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    newest record;
    given bigint := had;
BEGIN
    IF seen <> 0 THEN
        SELECT c.generation, c.hash INTO newest FROM configuration c
            ORDER BY c.generation DESC LIMIT 1;
        IF newest.hash = its_rules THEN
            given := newest.generation;
        END IF;
        PERFORM 1 FROM gateway g WHERE g.uuid = id AND g.generation = given AND given <> 0;
        IF NOT FOUND THEN
            PERFORM pg_advisory_xact_lock(1634882404, 1);
            SELECT c.generation, c.hash INTO newest FROM configuration c
                ORDER BY c.generation DESC LIMIT 1;
            IF newest.hash = its_rules THEN
                given := newest.generation;
            ELSIF had = 0 THEN
                INSERT INTO configuration (hash) VALUES (its_rules) RETURNING generation INTO given;
                DELETE FROM configuration c WHERE c.generation < given - 100;
            END IF;
        END IF;
    END IF;
    INSERT INTO gateway AS g (uuid, host, process, version, started_at, seen_at, rules, generation)
    VALUES (id, its_host, its_process, its_version, started,
        CASE seen WHEN 0 THEN 0 ELSE clock_ms() END, its_rules, given)
    ON CONFLICT (uuid) DO UPDATE SET seen_at = EXCLUDED.seen_at, rules = EXCLUDED.rules,
        generation = EXCLUDED.generation;
    DELETE FROM gateway g WHERE g.seen_at < clock_ms() - 24 * 3600 * 1000;
    RETURN given;
END $$;

-- Creates or changes a partner's webhook, and returns it: no row when it does not exist and there
-- is no URL to create it with.
CREATE FUNCTION configure(its_site text, its_partner bigint, new_url text, new_secret bytea,
    new_enabled boolean, new_events text)
RETURNS SETOF partner_webhook LANGUAGE plpgsql AS $$
BEGIN
    IF new_url IS NOT NULL THEN
        INSERT INTO partner_webhook (site, partner, url, secret, enabled, events, changed_at)
        VALUES (its_site, its_partner, new_url, '', true, '[]', clock_ms())
        ON CONFLICT (site, partner) DO NOTHING;
    END IF;
    PERFORM notify_gateways('partner', '');
    RETURN QUERY UPDATE partner_webhook SET url = coalesce(new_url, url),
        secret = coalesce(new_secret, secret), enabled = coalesce(new_enabled, enabled),
        events = coalesce(new_events, events), changed_at = clock_ms()
    WHERE site = its_site AND partner = its_partner RETURNING *;
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
