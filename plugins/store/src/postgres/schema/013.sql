-- The newest configuration decides which deliveries are held or orphaned; and orders follow the
-- recording.

-- Configurations in the order in which they came into force: a process that starts with, or
-- reloads, another configuration than the newest one gets the next generation.
CREATE TABLE configuration (
    generation bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text NOT NULL
);
ALTER TABLE gateway ADD COLUMN generation bigint NOT NULL DEFAULT 0;

-- Like `report`, and returns the generation of the gateway's configuration: that of the newest one
-- with the same hash; the next one if `had` is 0, which means that the configuration is new there;
-- otherwise `had`. A gateway's generation does not change during a step of `shift_newest` or
-- `set_state_newest`.
CREATE FUNCTION report_generation(id uuid, its_host text, its_process bigint, its_version text,
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
    PERFORM report(id, its_host, its_process, its_version, started, seen, its_rules);
    UPDATE gateway g SET generation = given WHERE g.uuid = id AND g.generation <> given;
    RETURN given;
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

-- Like `shift`; returns -1 and moves nothing when the configuration is not the newest.
CREATE FUNCTION shift_newest(mine bigint, name_of text, from_state text, to_state text, at bigint,
    most bigint, upto bigint)
RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF is_outdated(mine) THEN
        RETURN -1;
    END IF;
    RETURN shift(name_of, from_state, to_state, at, most, upto);
END $$;

-- Like `set_state`; returns false and stores nothing when the configuration is not the newest.
CREATE FUNCTION set_state_newest(mine bigint, name_of text, why text, since bigint,
    its_fingerprint text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF is_outdated(mine) THEN
        RETURN false;
    END IF;
    PERFORM set_state(name_of, why, since, its_fingerprint);
    RETURN true;
END $$;

-- The places of open exchanges in the orders of their deliveries. A delivery of a later event waits for them.
-- `lane` is the lock under which they are changed.
CREATE TABLE order_place (
    webhook int NOT NULL,
    order_key text NOT NULL,
    event bigint NOT NULL,
    lane int NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (webhook, order_key, event)
);
CREATE INDEX order_place_event ON order_place (event);
CREATE INDEX order_place_until ON order_place (until);

-- Deliveries of one order are made in the order in which their events were stored.
DROP INDEX delivery_order;
CREATE INDEX delivery_order ON delivery (webhook, order_key, blocked, event, id)
    WHERE order_key IS NOT NULL AND state IN ('pending', 'claimed', 'held');

-- Makes sure that only the first of a webhook's unfinished deliveries with this key is unblocked,
-- and none while one is claimed or an earlier event has a place. The caller has locked the key's
-- lane.
CREATE OR REPLACE FUNCTION reorder(hook int, key text) RETURNS void LANGUAGE plpgsql AS $$
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

-- Adds an event's deliveries; existing webhook ids are skipped. Returns how many are new; the
-- caller counts them. Their lanes are locked.
CREATE OR REPLACE FUNCTION add_deliveries(of_event bigint, happened bigint, told jsonb) RETURNS int
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

-- Adds the outcome of an open event, and its deliveries. Returns how many are new; NULL when there is
-- no such event.
CREATE OR REPLACE FUNCTION settle(s jsonb, blobs bytea[]) RETURNS int LANGUAGE plpgsql AS $$
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
    PERFORM leave_places(settled.id, NULL);
    IF added = 0 AND told <> '[]' THEN
        PERFORM mark_idle(ARRAY[settled.id]);
    ELSIF settled.payload_size IS NOT NULL THEN
        PERFORM mark_payloads(ARRAY[settled.id]);
    END IF;
    RETURN added;
END $$;

-- Removes an open event. Returns its payload file or its payload's pieces, which the caller
-- removes.
CREATE OR REPLACE FUNCTION discard(wanted uuid, OUT file text, OUT pieces uuid) LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM event WHERE uuid = wanted AND coalesce(owner, 0) <> 0
        RETURNING id, payload_path, payload_pieces INTO gone, file, pieces;
    DELETE FROM content WHERE event = gone;
    PERFORM leave_places(gone, NULL) WHERE gone IS NOT NULL;
END $$;

-- Performs one of a call's writes. Returns how many deliveries are new; NULL when it names an
-- unknown event.
CREATE OR REPLACE FUNCTION write_one(me int, w jsonb, blobs bytea[]) RETURNS int
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
CREATE OR REPLACE FUNCTION carry_out(me int, lease interval, not_after bigint, lanes int[], calls jsonb,
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
        -- Gateways of the previous version claim replays after other deliveries, too: with the new
        -- index, the other order would read everything that is due.
        RETURN QUERY SELECT * FROM claim_due(me, c);
        GET DIAGNOSTICS one = ROW_COUNT;
        taken := taken + one;
    END LOOP;
    IF added <> 0 OR taken <> 0 THEN
        INSERT INTO tally (state, n) SELECT s, m
            FROM (VALUES ('pending', added - taken), ('claimed', taken)) AS moved (s, m) WHERE m <> 0;
    END IF;
END $$;
