-- A group: the calls of many callers in one statement, which is one round trip and one commit. A
-- call's bytes are in `blobs`, and are named by their index.

-- Executes a group.
--
-- `not_after`: when the caller has given up; a later group must not be executed any more. `calls`:
-- lists of writes, each all or none, and events to discard; `records`: outcomes of claimed
-- deliveries; `claims`: deliveries to claim.
--
-- Returns only a row 'lost' when `me` is not known any more, and nothing was done; 'unknown' for a
-- call that names an unknown event, with its id; 'left' with the payload of a discarded event to
-- remove; 'held' with the deliveries that were skipped and are still claimed; and 'claimed' for
-- each claimed delivery, in the order in which they are to be made.
CREATE FUNCTION carry_out(me int, lease interval, not_after bigint, lanes int[], calls jsonb,
    records jsonb, claims jsonb, blobs bytea[])
RETURNS TABLE (call int, said text, what jsonb, body bytea, verdict bytea, payload bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c jsonb;
    w jsonb;
    one int;
    missing text;
    held bigint[];
    added int := 0;
    taken int := 0;
BEGIN
    IF clock_ms() > not_after THEN
        RAISE EXCEPTION USING ERRCODE = 'AH001', MESSAGE = 'this group came too late';
    END IF;
    IF NOT keep_lease(me, lease) THEN
        RETURN QUERY SELECT -1, 'lost', NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea;
        RETURN;
    END IF;
    PERFORM lock_lanes(lanes || lanes_of_places(calls));
    FOR c IN SELECT jsonb_array_elements(calls) LOOP
        IF c ? 'discard' THEN
            RETURN QUERY SELECT (c->>'call')::int, 'left', to_jsonb(gone), NULL::bytea,
                NULL::bytea, NULL::bytea
            FROM discard((c->>'discard')::uuid) AS gone
            WHERE gone.file IS NOT NULL OR gone.pieces IS NOT NULL;
            CONTINUE;
        END IF;
        IF jsonb_array_length(c->'writes') > 1 THEN
            missing := first_unknown(c->'writes');
        END IF;
        IF missing IS NULL THEN
            FOR w IN SELECT jsonb_array_elements(c->'writes') LOOP
                one := write_one(me, w, blobs);
                IF one IS NULL THEN
                    missing := w->>'event';
                ELSE
                    added := added + one;
                END IF;
            END LOOP;
        END IF;
        IF missing IS NOT NULL THEN
            RETURN QUERY SELECT (c->>'call')::int, 'unknown', to_jsonb(missing), NULL::bytea,
                NULL::bytea, NULL::bytea;
            missing := NULL;
        END IF;
    END LOOP;
    IF records <> '[]' THEN
        held := finish(records);
        IF held <> '{}' THEN
            RETURN QUERY SELECT 0, 'held', to_jsonb(held), NULL::bytea, NULL::bytea, NULL::bytea;
        END IF;
    END IF;
    FOR c IN SELECT jsonb_array_elements(claims) LOOP
        RETURN QUERY SELECT * FROM claim_due(me, c);
        GET DIAGNOSTICS one = ROW_COUNT;
        taken := taken + one;
    END LOOP;
    IF added <> 0 OR taken <> 0 THEN
        INSERT INTO tally (state, n) SELECT s, m
            FROM (VALUES ('pending', added - taken), ('claimed', taken)) AS moved (s, m) WHERE m <> 0;
    END IF;
END $$;

-- Returns the first event that a call settles and that is neither stored nor opened by the call
-- itself before. Existing ones stay until the end of the transaction.
CREATE FUNCTION first_unknown(writes jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    w jsonb;
    opened text[] := '{}';
BEGIN
    FOR w IN SELECT jsonb_array_elements(writes) LOOP
        IF w->>'do' IN ('open', 'publish') THEN
            opened := opened || (w->'event'->>'id');
        ELSIF w->>'do' = 'settle' AND NOT w->>'event' = ANY (opened) THEN
            PERFORM 1 FROM event WHERE uuid = (w->>'event')::uuid FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                RETURN w->>'event';
            END IF;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Performs one of a call's writes. Returns how many deliveries are new; NULL when it names an
-- unknown event.
CREATE FUNCTION write_one(me int, w jsonb, blobs bytea[]) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    CASE w->>'do'
        WHEN 'open' THEN
            PERFORM add_event(me, w->'event', blobs, false);
            RETURN 0;
        WHEN 'reserve' THEN
            PERFORM reserve((w->>'event')::uuid, w->'places', (w->>'until')::bigint);
            RETURN 0;
        WHEN 'replace' THEN
            PERFORM replace_event(w->'event', blobs);
            RETURN 0;
        WHEN 'settle' THEN
            RETURN settle(w, blobs);
        WHEN 'publish' THEN
            RETURN publish(w->'event', w->'deliveries', blobs);
        WHEN 'note' THEN
            PERFORM write_note(w->'note', blobs);
            RETURN 0;
        WHEN 'once' THEN
            IF write_note(w->'note', blobs) THEN
                RETURN publish(w->'event', w->'deliveries', blobs);
            END IF;
            RETURN 0;
    END CASE;
END $$;

-- Stores an event without an outcome, and its deliveries. Returns how many are new.
CREATE FUNCTION publish(e jsonb, deliveries jsonb, blobs bytea[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    added int;
BEGIN
    number := add_event(NULL, e, blobs, deliveries = '[]');
    IF number IS NULL THEN
        RETURN 0;
    END IF;
    added := add_deliveries(number, (e->>'occurred_at')::bigint, deliveries);
    IF added = 0 AND deliveries <> '[]' THEN
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
    deliveries jsonb := s->'deliveries';
    settled record;
    added int;
BEGIN
    -- Written so that no plan uses `event_open`, which contains everything that was recently open.
    UPDATE event SET kind = s->>'kind', verdict = blobs[(s->>'verdict')::int], owner = NULL,
        adopted = false, planned = NULL, idle_since = CASE WHEN deliveries = '[]' THEN clock_ms() END
    WHERE uuid = (s->>'event')::uuid AND coalesce(owner, 0) <> 0
        RETURNING id, occurred_at, payload_size INTO settled;
    IF NOT FOUND THEN
        PERFORM 1 FROM event WHERE uuid = (s->>'event')::uuid;
        RETURN CASE WHEN FOUND THEN 0 END;
    END IF;
    added := add_deliveries(settled.id, settled.occurred_at, deliveries);
    PERFORM leave_places(settled.id, NULL);
    IF added = 0 AND deliveries <> '[]' THEN
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
    PERFORM leave_places(gone, NULL) WHERE gone IS NOT NULL;
END $$;

-- Replaces the content of an open event, after a late decode.
CREATE FUNCTION replace_event(e jsonb, blobs bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    -- Written so that no plan uses `event_open`, which contains everything that was recently open.
    UPDATE event SET kind = e->>'kind', message_id = e->>'message_id',
        payload_path = e->>'payload_path', payload_size = (e->>'payload_size')::bigint,
        payload_pieces = (e->>'payload_pieces')::uuid,
        payload_sealed = (e->>'payload_sealed')::bigint
    WHERE uuid = (e->>'id')::uuid AND coalesce(owner, 0) <> 0 RETURNING id INTO number;
    UPDATE content SET body = blobs[(e->>'body')::int], payload = blobs[(e->>'payload')::int]
    WHERE event = number;
END $$;

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
CREATE FUNCTION add_deliveries(of_event bigint, happened bigint, deliveries jsonb) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    d record;
    hook int;
    one int;
    added int := 0;
BEGIN
    FOR d IN SELECT * FROM jsonb_to_recordset(deliveries) AS r
        (webhook_id text, webhook text, mode text, order_key text, lane int, due bigint)
    LOOP
        hook := webhook_number(d.webhook);
        INSERT INTO delivery
            (webhook_id, event, webhook, mode, order_key, lane, state, due, occurred_at, blocked)
        VALUES (d.webhook_id, of_event, hook, d.mode, d.order_key, d.lane, 'pending', d.due, happened,
            d.order_key IS NOT NULL AND (EXISTS
                (SELECT 1 FROM delivery o WHERE o.webhook = hook AND o.order_key = d.order_key
                    AND o.state IN ('pending', 'claimed', 'held'))
                OR EXISTS (SELECT 1 FROM order_place p WHERE p.webhook = hook
                    AND p.order_key = d.order_key AND p.event < of_event)))
        ON CONFLICT (webhook_id) DO NOTHING;
        GET DIAGNOSTICS one = ROW_COUNT;
        added := added + one;
        IF d.order_key IS NOT NULL THEN
            -- A later one may be the first now.
            PERFORM 1 FROM delivery o WHERE o.webhook = hook AND o.order_key = d.order_key
                AND NOT o.blocked AND o.state IN ('pending', 'claimed', 'held')
                AND o.event > of_event;
            IF FOUND THEN
                PERFORM reorder(hook, d.order_key);
            END IF;
        END IF;
    END LOOP;
    RETURN added;
END $$;

-- Writes a note on its condition. Returns whether it was written. The caller passes the time: a note
-- must not seem expired while a clock is wrong.
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
        WHERE n->>'before' = 'any' OR old.expires <= (n->>'now')::bigint;
    END IF;
    RETURN FOUND;
END $$;

-- Stores the outcomes of claimed deliveries. Skips deliveries that are not claimed by that ticket,
-- and attempts that are logged already. Their lanes are locked. Returns those that are still
-- claimed by that ticket.
CREATE FUNCTION finish(records jsonb) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    counted bigint;
    done bigint[];
    lines jsonb;
BEGIN
    WITH record AS MATERIALIZED (
        SELECT DISTINCT ON (delivery) * FROM jsonb_to_recordset(records) AS r
            (delivery bigint, owner int, ticket bigint, state text, due bigint, number int,
            at bigint, url text, http_code int, error text, duration_ms bigint)
        ORDER BY delivery
    ), finished AS (
        UPDATE delivery d SET state = r.state, due = coalesce(r.due, d.due), owner = NULL,
            ticket = NULL, attempts = coalesce(r.number, d.attempts),
            tries = d.tries + (r.number IS NOT NULL)::int
        FROM record r
        WHERE d.id = r.delivery AND d.state = 'claimed' AND d.owner = r.owner
            AND d.ticket = r.ticket AND (r.number IS NULL OR r.number > d.attempts)
        RETURNING d.id, d.event, d.webhook, d.order_key, d.state, r.due AS next_at, r.number, r.at,
            r.url, r.http_code, r.error, r.duration_ms
    ), logged AS (
        INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error, duration_ms,
            state, next_at)
        SELECT id, webhook, number, at, url, http_code, error, duration_ms, state, next_at
        FROM finished WHERE number IS NOT NULL ORDER BY at, id
    ), forgotten AS (
        -- Of each delivery the newest 200 are kept (`Attempt::KEPT`).
        DELETE FROM attempt a USING finished f
        WHERE f.number > 200 AND a.delivery = f.id AND a.number <= f.number - 200
    ), summed AS (
        INSERT INTO tally (state, n)
        SELECT state, count(*) FROM finished GROUP BY state
        UNION ALL SELECT 'claimed', -count(*) FROM finished HAVING count(*) > 0
    )
    SELECT count(*), array_agg(event) FILTER (WHERE state IN ('delivered', 'dead')),
        jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) FILTER (WHERE order_key IS NOT NULL)
    INTO counted, done, lines FROM finished;
    IF lines IS NOT NULL THEN
        PERFORM reorder_all(lines);
    END IF;
    IF done IS NOT NULL THEN
        PERFORM mark_idle(done);
    END IF;
    IF counted = jsonb_array_length(records) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(SELECT d.id FROM jsonb_to_recordset(records) AS r
            (delivery bigint, owner int, ticket bigint)
        JOIN delivery d ON d.id = r.delivery AND d.owner = r.owner AND d.ticket = r.ticket);
END $$;

-- Claims deliveries: up to `share` replays while others wait, and more only if the others leave
-- room.
CREATE FUNCTION claim_due(me int, c jsonb)
RETURNS TABLE (call int, said text, what jsonb, body bytea, verdict bytea, payload bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    hook int := (SELECT id FROM webhook WHERE name = c->>'webhook');
    at bigint := (c->>'now')::bigint;
    most bigint := (c->>'limit')::bigint;
    replays bigint[] := '{}';
    others bigint[];
BEGIN
    IF (c->>'share')::bigint > 0 THEN
        replays := claimable(hook, true, at, least(most, (c->>'share')::bigint));
    END IF;
    others := claimable(hook, false, at, most - cardinality(replays));
    IF cardinality(others) + cardinality(replays) < most THEN
        -- Rows that are locked already are found again.
        replays := claimable(hook, true, at, most - cardinality(others));
    END IF;
    RETURN QUERY WITH claimed AS (
        UPDATE delivery d SET state = 'claimed', owner = me, ticket = (c->>'ticket')::bigint
        WHERE d.id = ANY (others || replays)
        RETURNING d.id, d.webhook_id, d.event, d.mode, d.attempts, d.tries, d.replay, d.lane, d.due
    )
    SELECT (c->>'call')::int, 'claimed', jsonb_build_object('id', d.id,
            'webhook_id', d.webhook_id, 'mode', d.mode, 'attempts', d.attempts,
            'tries', d.tries, 'replay', d.replay, 'lane', d.lane, 'event', e.uuid,
            'path', e.payload_path, 'size', e.payload_size, 'pieces', e.payload_pieces,
            'sealed', e.payload_sealed, 'spent', e.payload_spent_at IS NOT NULL),
        t.body, e.verdict, t.payload
    FROM claimed d JOIN event e ON e.id = d.event JOIN content t ON t.event = d.event
    ORDER BY d.replay, d.due, d.id;
END $$;

-- The deliveries that a claim takes, locked: those due at `at` that are replays, or those that are not.
CREATE FUNCTION claimable(hook int, replays boolean, at bigint, most bigint) RETURNS bigint[]
LANGUAGE sql AS $$
    SELECT ARRAY(SELECT id FROM delivery WHERE webhook = hook AND replay = replays
            AND state = 'pending' AND NOT blocked AND due <= at
        ORDER BY due, id LIMIT most FOR UPDATE SKIP LOCKED)
$$;
