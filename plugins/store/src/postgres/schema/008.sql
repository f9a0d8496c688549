-- Returns the number of new deliveries. Gateways of the previous version continue to use `tell`.

-- Adds deliveries to an event whose outcome is known. Returns how many are new; NULL when there is no such
-- event.
CREATE FUNCTION tell_counted(wanted uuid, told jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    found_event record;
    added int;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (d->>'lane')::int FROM jsonb_array_elements(told) AS d));
    SELECT id, occurred_at INTO found_event FROM event WHERE uuid = wanted AND owner IS NULL
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    added := add_deliveries(found_event.id, found_event.occurred_at, told);
    IF added > 0 THEN
        INSERT INTO tally (state, n) VALUES ('pending', added);
        PERFORM tell_gateways('due', d->>'webhook') FROM jsonb_array_elements(told) AS d;
        PERFORM mark_busy(ARRAY[found_event.id]);
    ELSE
        -- It has delivered events before: its idle time stays.
        PERFORM mark_idle(ARRAY[id]) FROM event WHERE id = found_event.id AND idle_since IS NULL;
    END IF;
    RETURN added;
END $$;
