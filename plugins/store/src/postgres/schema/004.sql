-- Deliveries: finished, released, moved, replayed, removed.

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

-- Releases an owner's claims: those of the tickets in `only_these`, or those up to `upto` that are
-- not in `spare`, or, where both are NULL, all of them. Returns how many.
CREATE FUNCTION free_claims(whose int, only_these bigint[], spare bigint[], upto bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    freed int;
    lines jsonb;
BEGIN
    ids := ARRAY(SELECT id FROM delivery WHERE owner = whose
        AND (only_these IS NULL OR ticket = ANY (only_these))
        AND (spare IS NULL OR (ticket <= upto AND ticket <> ALL (spare))));
    IF ids = '{}' THEN
        RETURN 0;
    END IF;
    PERFORM lock_lanes(ARRAY(SELECT lane FROM delivery WHERE id = ANY (ids) AND lane IS NOT NULL));
    WITH given_back AS (
        UPDATE delivery SET state = 'pending', owner = NULL, ticket = NULL
        WHERE id = ANY (ids) AND owner = whose AND state = 'claimed'
        RETURNING webhook, order_key
    )
    SELECT count(*),
        jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) FILTER (WHERE order_key IS NOT NULL)
    INTO freed, lines FROM given_back;
    INSERT INTO tally (state, n) VALUES ('pending', freed), ('claimed', -freed);
    PERFORM reorder_all(coalesce(lines, '[]'));
    RETURN freed;
END $$;

-- Moves up to `most` of a webhook's deliveries, of those up to number `upto`, from one state to
-- another. Returns how many; NULL when none of them is left.
CREATE FUNCTION shift(name_of text, from_state text, to_state text, at bigint, most bigint, upto bigint)
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
    WITH shifted AS (
        UPDATE delivery SET state = to_state, owner = NULL, ticket = NULL,
            due = CASE WHEN to_state = 'pending' THEN least(due, at) ELSE due END
        WHERE id = ANY (ids) AND state = from_state RETURNING event, order_key
    )
    SELECT count(*), array_agg(event), jsonb_agg(DISTINCT jsonb_build_array(hook, order_key))
        FILTER (WHERE order_key IS NOT NULL)
    INTO moved, events, lines FROM shifted;
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
        PERFORM tell_gateways('due', name_of);
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

-- Makes deliveries due again, from the beginning of their retry schedule. Returns how many were.
CREATE FUNCTION replay(ids bigint[], at bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    replayed int;
    events bigint[];
    hooks int[];
    lines jsonb;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT lane FROM delivery WHERE id = ANY (ids) AND lane IS NOT NULL));
    -- An event that is being pruned is not there any more.
    PERFORM 1 FROM event WHERE id IN (SELECT event FROM delivery WHERE id = ANY (ids))
        ORDER BY id FOR NO KEY UPDATE;
    WITH old AS MATERIALIZED (
        SELECT id, state FROM delivery
        WHERE id = ANY (ids) AND state IN ('delivered', 'dead', 'orphaned') ORDER BY id FOR UPDATE
    ), replayed AS (
        UPDATE delivery d SET state = 'pending', due = at, tries = 0, replay = true,
            blocked = order_key IS NOT NULL
        FROM old WHERE d.id = old.id
        RETURNING d.event, d.webhook, d.order_key, old.state AS was
    ), counted AS (
        INSERT INTO tally (state, n)
        SELECT was, -count(*) FROM replayed GROUP BY was
        UNION ALL SELECT 'pending', count(*) FROM replayed HAVING count(*) > 0
    )
    SELECT count(*), array_agg(event), array_agg(DISTINCT webhook),
        jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) FILTER (WHERE order_key IS NOT NULL)
    INTO replayed, events, hooks, lines FROM replayed;
    IF replayed > 0 THEN
        PERFORM mark_busy(events);
        PERFORM reorder_all(coalesce(lines, '[]'));
        PERFORM tell_gateways('due', name) FROM webhook WHERE id = ANY (hooks);
    END IF;
    RETURN replayed;
END $$;

-- Stores a delivery that was made outside the queue.
CREATE FUNCTION record_made(e jsonb, told jsonb, a jsonb, ended text, blobs bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    made record;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (d->>'lane')::int FROM jsonb_array_elements(told) AS d));
    number := add_event(NULL, e, blobs, false);
    IF number IS NULL OR add_deliveries(number, (e->>'occurred_at')::bigint, told) = 0 THEN
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

-- Removes these events with everything that belongs to them; the caller removes the files and
-- pieces. The caller has locked their rows.
CREATE FUNCTION remove_events(ids bigint[], OUT removed int, OUT files text[], OUT pieces uuid[])
LANGUAGE plpgsql AS $$
BEGIN
    SELECT coalesce(array_agg(payload_path) FILTER (WHERE payload_path IS NOT NULL), '{}'),
        coalesce(array_agg(payload_pieces) FILTER (WHERE payload_pieces IS NOT NULL), '{}')
    INTO files, pieces FROM event WHERE id = ANY (ids);
    DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE event = ANY (ids));
    WITH gone AS (DELETE FROM delivery WHERE event = ANY (ids) RETURNING state)
        INSERT INTO tally (state, n) SELECT state, -count(*) FROM gone GROUP BY state;
    DELETE FROM content WHERE event = ANY (ids);
    DELETE FROM event WHERE id = ANY (ids);
    removed := cardinality(ids);
END $$;

-- Removes the events that are idle since before then, longest idle first.
CREATE FUNCTION prune(before bigint, most bigint, OUT removed int, OUT files text[], OUT pieces uuid[])
LANGUAGE sql AS $$
    SELECT removed, files, pieces FROM remove_events((SELECT coalesce(array_agg(id), '{}') FROM
        (SELECT id FROM event WHERE idle_since < before
        ORDER BY idle_since LIMIT most FOR UPDATE SKIP LOCKED) AS idle))
$$;

-- Removes the longest idle of those up to this one; those with a dead delivery stay.
CREATE FUNCTION prune_upto(since bigint, last bigint, most bigint, OUT removed int, OUT files text[],
    OUT pieces uuid[])
LANGUAGE sql AS $$
    SELECT removed, files, pieces FROM remove_events((SELECT coalesce(array_agg(id), '{}') FROM
        (SELECT id FROM event WHERE idle_since IS NOT NULL AND NOT has_dead
            AND (idle_since, id) <= (since, last)
        ORDER BY idle_since, id LIMIT most FOR UPDATE SKIP LOCKED) AS beyond))
$$;

-- Removes attempts from the beginning of the log, in the order they were logged.
CREATE FUNCTION prune_attempts(before bigint, most bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH oldest AS (SELECT id, at FROM attempt ORDER BY id LIMIT most),
        gone AS (DELETE FROM attempt WHERE id IN (SELECT id FROM oldest WHERE at < before)
            RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Removes the payloads that no delivery has needed since before then, longest first. Returns how
-- many events had one, and their files and pieces, which the caller removes.
CREATE FUNCTION spend(before bigint, most bigint, OUT spent int, OUT files text[], OUT pieces uuid[])
LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT coalesce(array_agg(id), '{}'),
        coalesce(array_agg(payload_path) FILTER (WHERE payload_path IS NOT NULL), '{}'),
        coalesce(array_agg(payload_pieces) FILTER (WHERE payload_pieces IS NOT NULL), '{}')
    INTO ids, files, pieces FROM (SELECT id, payload_path, payload_pieces FROM event
        WHERE payload_idle_since < before ORDER BY payload_idle_since LIMIT most
        FOR UPDATE SKIP LOCKED) AS idle;
    UPDATE content SET payload = NULL WHERE event = ANY (ids) AND payload IS NOT NULL;
    UPDATE event SET payload_path = NULL, payload_pieces = NULL, payload_idle_since = NULL,
        payload_spent_at = clock_ms() WHERE id = ANY (ids);
    spent := cardinality(ids);
END $$;
