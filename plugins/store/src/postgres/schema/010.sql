-- The number of notes whose keys begin with the same 21 characters is limited.
CREATE INDEX note_group ON note (left(key, 21), expires);
-- Sums up payloads outside of `content`.
CREATE INDEX event_payload_bytes ON event (payload_size)
    WHERE payload_path IS NOT NULL OR payload_pieces IS NOT NULL;

-- Removes notes from each group that has more than `keep`, those that expire first.
CREATE FUNCTION trim_notes(keep bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    of_group record;
    removed bigint := 0;
    n bigint;
BEGIN
    FOR of_group IN SELECT left(key, 21) AS name, count(*) - keep AS beyond FROM note
        GROUP BY left(key, 21) HAVING count(*) > keep
    LOOP
        DELETE FROM note WHERE key IN (SELECT key FROM note WHERE left(key, 21) = of_group.name
            ORDER BY expires LIMIT least(of_group.beyond, most - removed) FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        EXIT WHEN removed >= most;
    END LOOP;
    RETURN removed;
END $$;

-- The bytes in `content`, with 1 KiB for the other rows of each event: a list of changes, as in
-- `tally`. The sizes of relations would not shrink when rows are removed.
CREATE FUNCTION content_bytes(body bytea, payload bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT 1024 + octet_length(body) + coalesce(octet_length(payload), 0)
$$;
CREATE FUNCTION content_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) VALUES ('bytes', content_bytes(NEW.body, NEW.payload));
    RETURN NULL;
END $$;
CREATE FUNCTION content_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) SELECT 'bytes', -sum(content_bytes(body, payload)) FROM gone
        HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION content_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally (state, n) VALUES ('bytes',
        content_bytes(NEW.body, NEW.payload) - content_bytes(OLD.body, OLD.payload));
    RETURN NULL;
END $$;
CREATE TRIGGER content_added AFTER INSERT ON content
    FOR EACH ROW EXECUTE FUNCTION content_added();
CREATE TRIGGER content_removed AFTER DELETE ON content REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION content_removed();
CREATE TRIGGER content_changed AFTER UPDATE ON content
    FOR EACH ROW EXECUTE FUNCTION content_changed();
INSERT INTO tally (state, n) SELECT 'bytes', sum(content_bytes(body, payload)) FROM content
    HAVING count(*) > 0;
