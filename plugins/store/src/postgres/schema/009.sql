-- The content of an exchange after a late decode.

-- Replaces the content of an open event.
CREATE FUNCTION replace_event(e jsonb, blobs bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    -- Written so that no plan uses `event_open`, which contains everything that was recently open.
    UPDATE event SET kind = e->>'kind', message_id = e->>'message_id',
        payload_path = e->>'payload_path', payload_size = (e->>'payload_size')::bigint,
        payload_pieces = (e->>'payload_pieces')::uuid,
        payload_sealed = (e->>'payload_sealed')::bigint
    WHERE uuid = (e->>'id')::uuid AND coalesce(owner, 0) <> 0 RETURNING id INTO number;
    UPDATE content SET body = blobs[(e->>'body')::int], payload = blobs[(e->>'payload')::int]
    WHERE event = number;
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
