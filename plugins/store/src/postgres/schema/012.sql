-- Replays are claimed after other deliveries: each kind by its own part of the index.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (webhook, replay, due, id) WHERE state = 'pending' AND NOT blocked;

-- The deliveries that a claim takes, locked: those due at `at` that are replays, or those that are not.
CREATE FUNCTION claimable(hook int, replays boolean, at bigint, most bigint) RETURNS bigint[]
LANGUAGE sql AS $$
    SELECT ARRAY(SELECT id FROM delivery WHERE webhook = hook AND replay = replays
            AND state = 'pending' AND NOT blocked AND due <= at
        ORDER BY due, id LIMIT most FOR UPDATE SKIP LOCKED)
$$;

-- Claims deliveries: up to `share` replays while others wait, and more only if the others leave
-- room. A version without a share gives them none.
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

-- Makes deliveries due again, from the beginning of their retry schedule. Returns how many. Steps of
-- thousands follow each other, so rows that are changed are not locked separately before: the change
-- of an event, after which no other transaction can remove it or mark it as idle, comes first, in the
-- order of their numbers as everywhere.
CREATE OR REPLACE FUNCTION replay(ids bigint[], at bigint) RETURNS int LANGUAGE plpgsql
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
        PERFORM tell_gateways('due', name) FROM webhook WHERE id = ANY (hooks);
    END IF;
    RETURN replayed;
END $$;

-- As before, except that the caller passes the time: a note must not seem expired while a clock is
-- wrong. Without it the database's clock counts, as for gateways of the previous version.
CREATE OR REPLACE FUNCTION write_note(n jsonb, blobs bytea[]) RETURNS boolean LANGUAGE plpgsql AS $$
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
        WHERE n->>'before' = 'any' OR old.expires <= coalesce((n->>'now')::bigint, clock_ms());
    END IF;
    RETURN FOUND;
END $$;
