-- Leases, and what is removed over time.

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

-- Releases the claims of one owner whose lease has ended or that has no row any more, and gives its
-- open events to `me`. Only one: the lock of a second one would come after the lanes of the first.
-- Returns how many there were; NULL when `me` itself is not known any more.
CREATE FUNCTION reclaim(me int, lease interval) RETURNS int LANGUAGE plpgsql AS $$
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
CREATE FUNCTION release(me int) RETURNS void LANGUAGE plpgsql AS $$
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

-- Sums the tally up, unless another process is doing that.
CREATE FUNCTION sum_up() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1634882404, 0) THEN
        WITH gone AS (DELETE FROM tally RETURNING state, n)
            INSERT INTO tally (state, n) SELECT state, sum(n) FROM gone GROUP BY state;
    END IF;
END $$;
