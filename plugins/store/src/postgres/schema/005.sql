-- Owners, and the group: the calls of many callers in one statement, which is one round trip and
-- one commit.

-- Makes sure that an owner's lease lasts, and that its claims are not reclaimed before this
-- transaction ends. Returns whether it is still known.
CREATE FUNCTION keep_lease(me int, lease interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
    ends timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1634882403, me);
    at := clock_timestamp();
    SELECT lease_until INTO ends FROM owner WHERE id = me;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF ends < at + lease * 0.85 THEN
        UPDATE owner SET lease_until = at + lease,
            resumed_at = CASE WHEN lease_until < at THEN at ELSE resumed_at END
        WHERE id = me;
    END IF;
    RETURN true;
END $$;

-- The owners of events and deliveries, each once: one index look-up for each.
CREATE FUNCTION named_owners() RETURNS SETOF int LANGUAGE sql AS $$
    WITH RECURSIVE opening AS (
        SELECT min(owner) AS id FROM event WHERE owner IS NOT NULL
        UNION ALL
        SELECT (SELECT min(owner) FROM event WHERE owner > opening.id) FROM opening
        WHERE opening.id IS NOT NULL
    ), claiming AS (
        SELECT min(owner) AS id FROM delivery WHERE owner IS NOT NULL
        UNION ALL
        SELECT (SELECT min(owner) FROM delivery WHERE owner > claiming.id) FROM claiming
        WHERE claiming.id IS NOT NULL
    )
    SELECT id FROM opening WHERE id IS NOT NULL
    UNION SELECT id FROM claiming WHERE id IS NOT NULL
$$;

-- Releases the claims of one owner whose lease has ended or that has no row any more, and gives its
-- open events to `me`. Only one: the lock of a second one would come after the lanes of the first.
-- Returns how many there were; NULL when `me` itself is not known any more.
CREATE FUNCTION bury(me int, lease interval) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    dead int;
    at timestamptz := clock_timestamp();
BEGIN
    IF NOT keep_lease(me, lease) THEN
        RETURN NULL;
    END IF;
    -- If this process was away, the others most likely were too, because the database was. Let them
    -- return.
    PERFORM 1 FROM owner WHERE id = me AND resumed_at + lease / 3 > at;
    IF FOUND THEN
        RETURN 0;
    END IF;
    FOR dead IN
        SELECT id FROM owner WHERE lease_until < at AND id <> me
        UNION SELECT n FROM named_owners() AS n WHERE n NOT IN (SELECT id FROM owner)
        ORDER BY 1
    LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(1634882403, dead);
        PERFORM 1 FROM owner WHERE id = dead AND lease_until >= at;
        CONTINUE WHEN FOUND;
        PERFORM free_claims(dead, NULL, NULL, NULL);
        UPDATE event SET owner = me, adopted = true WHERE owner = dead;
        DELETE FROM owner WHERE id = dead;
        RETURN 1;
    END LOOP;
    RETURN 0;
END $$;

-- Ends an owner: its claims are released, and its open exchanges are taken over at once. Its calls
-- in progress are waited for; later ones find the owner gone.
CREATE FUNCTION resign(me int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1634882403, me);
    PERFORM free_claims(me, NULL, NULL, NULL);
    PERFORM 1 FROM event WHERE owner = me;
    IF FOUND THEN
        UPDATE owner SET lease_until = '-infinity' WHERE id = me;
    ELSE
        DELETE FROM owner WHERE id = me;
    END IF;
END $$;

-- Sums the tally up, unless another process is doing that.
CREATE FUNCTION sum_up() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1634882404, 0) THEN
        WITH gone AS (DELETE FROM tally RETURNING state, n)
            INSERT INTO tally (state, n) SELECT state, sum(n) FROM gone GROUP BY state;
    END IF;
END $$;

-- Performs one of a call's writes. Returns how many deliveries are new; NULL when it names an
-- unknown event.
CREATE FUNCTION write_one(me int, w jsonb, blobs bytea[]) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    CASE w->>'do'
        WHEN 'open' THEN
            PERFORM add_event(me, w->'event', blobs, false);
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
    PERFORM lock_lanes(lanes);
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
        RETURN QUERY WITH chosen AS MATERIALIZED (
            SELECT d.id FROM delivery d
            WHERE d.webhook = (SELECT h.id FROM webhook h WHERE h.name = c->>'webhook')
                AND d.state = 'pending' AND NOT d.blocked AND d.due <= (c->>'now')::bigint
            ORDER BY d.due, d.id LIMIT (c->>'limit')::bigint FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE delivery d SET state = 'claimed', owner = me, ticket = (c->>'ticket')::bigint
            FROM chosen WHERE d.id = chosen.id
            RETURNING d.id, d.webhook_id, d.event, d.mode, d.attempts, d.tries, d.replay, d.lane,
                d.due
        )
        SELECT (c->>'call')::int, 'claimed', jsonb_build_object('id', d.id,
                'webhook_id', d.webhook_id, 'mode', d.mode, 'attempts', d.attempts,
                'tries', d.tries, 'replay', d.replay, 'lane', d.lane, 'event', e.uuid,
                'path', e.payload_path, 'size', e.payload_size, 'pieces', e.payload_pieces,
                'sealed', e.payload_sealed, 'spent', e.payload_spent_at IS NOT NULL),
            t.body, e.verdict, t.payload
        FROM claimed d JOIN event e ON e.id = d.event JOIN content t ON t.event = d.event
        ORDER BY d.due, d.id;
        GET DIAGNOSTICS one = ROW_COUNT;
        taken := taken + one;
    END LOOP;
    IF added <> 0 OR taken <> 0 THEN
        INSERT INTO tally (state, n) SELECT s, m
            FROM (VALUES ('pending', added - taken), ('claimed', taken)) AS moved (s, m) WHERE m <> 0;
    END IF;
END $$;
