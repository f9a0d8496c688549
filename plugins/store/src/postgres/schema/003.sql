-- Exchanges and their outcome; notes. A call's bytes are in `blobs`, and are named by their index.

-- Stores an event; `me` is its owner while its outcome is not known. Returns its number, or NULL
-- when it exists already.
CREATE FUNCTION add_event(me int, e jsonb, blobs bytea[], idle boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    INSERT INTO event (uuid, kind, site, partner, station, message_id, occurred_at, owner, planned,
        idle_since, payload_path, payload_size, payload_pieces, payload_sealed)
    VALUES ((e->>'id')::uuid, e->>'kind', e->>'site', e->>'partner', e->>'station',
        e->>'message_id', (e->>'occurred_at')::bigint, me, blobs[(e->>'planned')::int],
        CASE WHEN idle THEN clock_ms() END,
        e->>'payload_path', (e->>'payload_size')::bigint, (e->>'payload_pieces')::uuid,
        (e->>'payload_sealed')::bigint)
    ON CONFLICT (uuid) DO NOTHING RETURNING id INTO number;
    IF number IS NOT NULL THEN
        INSERT INTO content (event, body, payload)
        VALUES (number, blobs[(e->>'body')::int], blobs[(e->>'payload')::int]);
    END IF;
    RETURN number;
END $$;

-- Adds an event's deliveries; existing webhook ids are skipped. Returns how many are new; the
-- caller counts them. Their lanes are locked.
CREATE FUNCTION add_deliveries(of_event bigint, happened bigint, told jsonb) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    d record;
    hook int;
    one int;
    added int := 0;
BEGIN
    FOR d IN SELECT * FROM jsonb_to_recordset(told) AS r
        (webhook_id text, webhook text, mode text, order_key text, lane int, due bigint)
    LOOP
        hook := webhook_number(d.webhook);
        INSERT INTO delivery
            (webhook_id, event, webhook, mode, order_key, lane, state, due, occurred_at, blocked)
        VALUES (d.webhook_id, of_event, hook, d.mode, d.order_key, d.lane, 'pending', d.due, happened,
            d.order_key IS NOT NULL AND EXISTS
                (SELECT 1 FROM delivery o WHERE o.webhook = hook AND o.order_key = d.order_key
                    AND o.state IN ('pending', 'claimed', 'held')))
        ON CONFLICT (webhook_id) DO NOTHING;
        GET DIAGNOSTICS one = ROW_COUNT;
        added := added + one;
    END LOOP;
    RETURN added;
END $$;

-- Stores an event without an outcome, and its deliveries. Returns how many are new.
CREATE FUNCTION publish(e jsonb, told jsonb, blobs bytea[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    added int;
BEGIN
    number := add_event(NULL, e, blobs, told = '[]');
    IF number IS NULL THEN
        RETURN 0;
    END IF;
    added := add_deliveries(number, (e->>'occurred_at')::bigint, told);
    IF added = 0 AND told <> '[]' THEN
        PERFORM mark_idle(ARRAY[number]);
    ELSIF e->>'payload_size' IS NOT NULL THEN
        PERFORM mark_payloads(ARRAY[number]);
    END IF;
    RETURN added;
END $$;

-- Adds the outcome of an open event, and its deliveries. Returns how many are new; NULL when there is
-- no such event.
CREATE FUNCTION settle(s jsonb, blobs bytea[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    told jsonb := s->'deliveries';
    settled record;
    added int;
BEGIN
    -- Written so that no plan uses `event_open`, which contains everything that was recently open.
    UPDATE event SET kind = s->>'kind', verdict = blobs[(s->>'verdict')::int], owner = NULL,
        adopted = false, planned = NULL, idle_since = CASE WHEN told = '[]' THEN clock_ms() END
    WHERE uuid = (s->>'event')::uuid AND coalesce(owner, 0) <> 0
        RETURNING id, occurred_at, payload_size INTO settled;
    IF NOT FOUND THEN
        PERFORM 1 FROM event WHERE uuid = (s->>'event')::uuid;
        RETURN CASE WHEN FOUND THEN 0 END;
    END IF;
    added := add_deliveries(settled.id, settled.occurred_at, told);
    IF added = 0 AND told <> '[]' THEN
        PERFORM mark_idle(ARRAY[settled.id]);
    ELSIF settled.payload_size IS NOT NULL THEN
        PERFORM mark_payloads(ARRAY[settled.id]);
    END IF;
    RETURN added;
END $$;

-- Removes an open event. Returns its payload file or its payload's pieces, which the caller
-- removes.
CREATE FUNCTION discard(wanted uuid, OUT file text, OUT pieces uuid) LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM event WHERE uuid = wanted AND coalesce(owner, 0) <> 0
        RETURNING id, payload_path, payload_pieces INTO gone, file, pieces;
    DELETE FROM content WHERE event = gone;
END $$;

-- Adds deliveries to an event whose outcome is known. Returns whether there is one.
CREATE FUNCTION tell(wanted uuid, told jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found_event record;
    added int;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (d->>'lane')::int FROM jsonb_array_elements(told) AS d));
    SELECT id, occurred_at INTO found_event FROM event WHERE uuid = wanted AND owner IS NULL
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    added := add_deliveries(found_event.id, found_event.occurred_at, told);
    IF added > 0 THEN
        INSERT INTO tally (state, n) VALUES ('pending', added);
        PERFORM tell_gateways('due', d->>'webhook') FROM jsonb_array_elements(told) AS d;
        PERFORM mark_busy(ARRAY[found_event.id]);
    ELSE
        -- It has delivered events before: its idle time stays.
        PERFORM mark_idle(ARRAY[id]) FROM event WHERE id = found_event.id AND idle_since IS NULL;
    END IF;
    RETURN true;
END $$;

-- Writes a note if the existing one is as expected. Returns whether it was written.
CREATE FUNCTION write_note(n jsonb, blobs bytea[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF n->>'before' = 'body' THEN
        UPDATE note SET body = blobs[(n->>'body')::int], due = (n->>'due')::bigint,
            expires = (n->>'expires')::bigint
        WHERE key = n->>'key' AND body = blobs[(n->>'expected')::int];
    ELSE
        INSERT INTO note AS old (key, body, due, expires)
        VALUES (n->>'key', blobs[(n->>'body')::int], (n->>'due')::bigint, (n->>'expires')::bigint)
        ON CONFLICT (key) DO UPDATE SET body = EXCLUDED.body, due = EXCLUDED.due,
            expires = EXCLUDED.expires
        WHERE n->>'before' = 'any' OR old.expires <= clock_ms();
    END IF;
    RETURN FOUND;
END $$;
