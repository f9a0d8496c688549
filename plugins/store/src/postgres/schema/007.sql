-- What keeps the store within bounds besides `prune`.

-- Whether one of its deliveries is dead: nobody was told, so it is kept for its whole time however
-- many events there are.
ALTER TABLE event ADD COLUMN has_dead boolean NOT NULL DEFAULT false;
UPDATE event SET has_dead = true WHERE id IN (SELECT event FROM delivery WHERE state = 'dead');
CREATE INDEX event_delivered ON event (idle_since, id) WHERE idle_since IS NOT NULL AND NOT has_dead;

-- Notes since when events have nothing left to do, where that is so. Each is locked first: two that
-- finish an event's last two deliveries at once must not both see the other's as unfinished.
CREATE OR REPLACE FUNCTION mark_idle(events bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM event WHERE id = ANY (events) ORDER BY id FOR NO KEY UPDATE;
    UPDATE event SET idle_since = clock_ms(),
        has_dead = EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 'dead')
    WHERE id = ANY (events) AND owner IS NULL AND NOT EXISTS
        (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state NOT IN ('delivered', 'dead'));
END $$;

-- Removes these events with all that belongs to them; the files are for the caller to remove. The
-- caller holds their rows.
CREATE FUNCTION remove_events(ids bigint[], OUT removed int, OUT files text[])
LANGUAGE plpgsql AS $$
DECLARE
    pieces uuid[];
BEGIN
    SELECT coalesce(array_agg(payload_path) FILTER (WHERE payload_path IS NOT NULL), '{}'),
        array_agg(payload_pieces) FILTER (WHERE payload_pieces IS NOT NULL)
    INTO files, pieces FROM event WHERE id = ANY (ids);
    DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE event = ANY (ids));
    WITH gone AS (DELETE FROM delivery WHERE event = ANY (ids) RETURNING state)
        INSERT INTO tally (state, n) SELECT state, -count(*) FROM gone GROUP BY state;
    DELETE FROM content WHERE event = ANY (ids);
    DELETE FROM event WHERE id = ANY (ids);
    IF pieces IS NOT NULL THEN
        PERFORM drop_pieces(pieces);
    END IF;
    removed := cardinality(ids);
END $$;

-- Removes the events that are idle since before then, longest idle first.
CREATE OR REPLACE FUNCTION prune(before bigint, most bigint, OUT removed int, OUT files text[])
LANGUAGE sql AS $$
    SELECT removed, files FROM remove_events((SELECT coalesce(array_agg(id), '{}') FROM
        (SELECT id FROM event WHERE idle_since < before
        ORDER BY idle_since LIMIT most FOR UPDATE SKIP LOCKED) AS idle))
$$;

-- Removes the longest idle of those that are too many; those with a dead delivery do not count.
CREATE FUNCTION prune_beyond(keep bigint, most bigint, OUT removed int, OUT files text[])
LANGUAGE sql AS $$
    WITH first AS (SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND NOT has_dead
        ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET keep)
    SELECT removed, files FROM remove_events((SELECT coalesce(array_agg(id), '{}') FROM
        (SELECT e.id FROM event e, first
        WHERE e.idle_since IS NOT NULL AND NOT e.has_dead
            AND (e.idle_since, e.id) <= (first.idle_since, first.id)
        ORDER BY e.idle_since, e.id LIMIT most FOR UPDATE OF e SKIP LOCKED) AS beyond))
$$;

-- Removes attempts from the beginning of the log, in the order they were logged.
CREATE FUNCTION prune_attempts(before bigint, most bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH oldest AS (SELECT id, at FROM attempt ORDER BY id LIMIT most),
        gone AS (DELETE FROM attempt WHERE id IN (SELECT id FROM oldest WHERE at < before)
            RETURNING 1)
    SELECT count(*) FROM gone
$$;
