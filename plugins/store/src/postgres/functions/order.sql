-- The order of deliveries with the same webhook and order key.

-- Waits for locks and holds them until the transaction ends. All callers take them in this order:
-- those of a class below by number.
CREATE FUNCTION lock_lanes(lanes int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lane int;
BEGIN
    FOR lane IN SELECT DISTINCT l FROM unnest(lanes) AS l WHERE l IS NOT NULL ORDER BY l LOOP
        PERFORM pg_advisory_xact_lock(1634882402, lane);
    END LOOP;
END $$;

-- Returns the locks of the places that the calls end. They do not change while their events are
-- open.
CREATE FUNCTION lanes_of_places(calls jsonb) RETURNS int[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg(DISTINCT p.lane), '{}')
    FROM (
        SELECT (w->>'event')::uuid AS uuid
        FROM jsonb_array_elements(calls) AS c, jsonb_array_elements(c->'writes') AS w
        WHERE c ? 'writes' AND w->>'do' = 'settle'
        UNION ALL
        SELECT (c->>'discard')::uuid FROM jsonb_array_elements(calls) AS c WHERE c ? 'discard'
    ) AS ending
    JOIN event e ON e.uuid = ending.uuid
    JOIN order_place p ON p.event = e.id
$$;

-- Gives an open event places in orders, until then at most. Their lanes are locked.
CREATE FUNCTION reserve(wanted uuid, places jsonb, over_at bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    SELECT id INTO number FROM event WHERE uuid = wanted AND coalesce(owner, 0) <> 0;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO order_place (webhook, order_key, event, lane, until)
    SELECT webhook_number(p.webhook), p.order_key, number, p.lane, over_at
    FROM jsonb_to_recordset(places) AS p (webhook text, order_key text, lane int)
    ON CONFLICT (webhook, order_key, event) DO NOTHING;
END $$;

-- Ends the places whose time is over at `over_at`.
CREATE FUNCTION leave_late_places(over_at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lanes int[] := ARRAY(SELECT DISTINCT lane FROM order_place WHERE until < over_at);
BEGIN
    IF lanes <> '{}' THEN
        PERFORM lock_lanes(lanes);
        PERFORM leave_places(NULL, over_at);
    END IF;
END $$;

-- Ends the places of an event, or those whose time is over. Their lanes are locked.
CREATE FUNCTION leave_places(of_event bigint, over_at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lines jsonb;
BEGIN
    IF of_event IS NULL THEN
        WITH gone AS (
            DELETE FROM order_place WHERE until < over_at RETURNING webhook, order_key
        )
        SELECT jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) INTO lines FROM gone;
    ELSE
        WITH gone AS (
            DELETE FROM order_place WHERE event = of_event RETURNING webhook, order_key
        )
        SELECT jsonb_agg(DISTINCT jsonb_build_array(webhook, order_key)) INTO lines FROM gone;
    END IF;
    IF lines IS NOT NULL THEN
        PERFORM reorder_all(lines);
    END IF;
END $$;

-- Like `reorder`, for several: a list of pairs of a webhook's number and a key.
CREATE FUNCTION reorder_all(lines jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    line jsonb;
BEGIN
    FOR line IN SELECT jsonb_array_elements(lines) LOOP
        PERFORM reorder((line->>0)::int, line->>1);
    END LOOP;
END $$;

-- Makes sure that only the first of a webhook's unfinished deliveries with this key is unblocked,
-- and none while one is claimed or an earlier event has a place. The caller has locked the key's
-- lane.
CREATE FUNCTION reorder(hook int, key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first_one record;
BEGIN
    UPDATE delivery SET blocked = true WHERE webhook = hook AND order_key = key AND NOT blocked
        AND state IN ('pending', 'claimed', 'held') AND state <> 'claimed';
    PERFORM 1 FROM delivery WHERE webhook = hook AND order_key = key
        AND NOT blocked AND state IN ('pending', 'claimed', 'held');
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT d.id, d.event INTO first_one FROM delivery d WHERE d.webhook = hook AND d.order_key = key
        AND d.blocked AND d.state IN ('pending', 'claimed', 'held') ORDER BY d.event, d.id LIMIT 1;
    IF FOUND THEN
        UPDATE delivery SET blocked = false WHERE id = first_one.id AND NOT EXISTS
            (SELECT 1 FROM order_place p WHERE p.webhook = hook AND p.order_key = key
                AND p.event < first_one.event);
    END IF;
END $$;
