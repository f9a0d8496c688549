-- What the database itself has to do: with its own clock, locks and channel.

-- Fails when the caller of a transaction has given up: it must not be committed any more.
CREATE FUNCTION not_after(at bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF clock_ms() > at THEN
        RAISE EXCEPTION USING ERRCODE = 'AH001', MESSAGE = 'this group came too late';
    END IF;
END $$;

-- Makes sure that an owner's lease lasts, and that its claims are not reclaimed before this
-- transaction ends. Fails when it is not known any more.
CREATE FUNCTION keep_lease(me int, lease interval) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
    ends timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1634882403, me);
    at := clock_timestamp();
    SELECT lease_until INTO ends FROM owner WHERE id = me;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AH002', MESSAGE = 'the lease of this gateway has ended';
    END IF;
    IF ends < at + lease * 0.85 THEN
        UPDATE owner SET lease_until = at + lease,
            resumed_at = CASE WHEN lease_until < at THEN at ELSE resumed_at END
        WHERE id = me;
    END IF;
END $$;

-- Returns an owner whose lease has ended or that has no row any more, locked; 0 when there is none.
CREATE FUNCTION find_dead(me int, lease interval) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    dead int;
    at timestamptz := clock_timestamp();
BEGIN
    PERFORM keep_lease(me, lease);
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
        RETURN dead;
    END LOOP;
    RETURN 0;
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

-- Sums the tally up, unless another process is doing that.
CREATE FUNCTION sum_up() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1634882404, 0) THEN
        WITH gone AS (DELETE FROM tally RETURNING state, n)
            INSERT INTO tally (state, n) SELECT state, sum(n) FROM gone GROUP BY state;
    END IF;
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
