-- Building blocks of the other functions. A released function is never changed, because gateways of
-- several versions may run at once: a new version gets a new name.

-- The time, in milliseconds since 1970.
CREATE FUNCTION clock_ms() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

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

-- Makes sure that only the first of a webhook's unfinished deliveries with this key is unblocked,
-- and none while one is claimed. The caller has locked the key's lane.
CREATE FUNCTION reorder(hook int, key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE delivery SET blocked = true WHERE webhook = hook AND order_key = key AND NOT blocked
        AND state IN ('pending', 'claimed', 'held') AND state <> 'claimed';
    UPDATE delivery SET blocked = false WHERE id =
            (SELECT min(id) FROM delivery WHERE webhook = hook AND order_key = key
                AND blocked AND state IN ('pending', 'claimed', 'held'))
        AND NOT EXISTS
            (SELECT 1 FROM delivery WHERE webhook = hook AND order_key = key
                AND NOT blocked AND state IN ('pending', 'claimed', 'held'));
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

-- Records since when no delivery needs the payloads of events, or that one does. A delivery that is
-- dead, held or orphaned still needs it.
CREATE FUNCTION mark_payloads(events bigint[]) RETURNS void LANGUAGE sql AS $$
    UPDATE event e SET payload_idle_since = CASE WHEN EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = e.id AND d.mode = 'raw' AND d.state <> 'delivered')
        THEN NULL ELSE coalesce(payload_idle_since, clock_ms()) END
    WHERE id = ANY (events) AND owner IS NULL AND payload_size IS NOT NULL
        AND payload_spent_at IS NULL
$$;

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

-- Notifies the other gateways when the transaction is committed. Each such commit waits for every
-- other one in the whole cluster, so no call in a message's path uses it.
CREATE FUNCTION tell_gateways(what text, name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF octet_length(name) > 7000 THEN
        PERFORM pg_notify(current_schema(), 'all:');
    ELSE
        PERFORM pg_notify(current_schema(), what || ':' || name);
    END IF;
END $$;
