-- The identity of this store towards its payload places. `database` is the one that `mark` was
-- created for: a copy gets a mark of its own, so that neither removes what the other writes.
CREATE TABLE store_identity (
    one int PRIMARY KEY CHECK (one = 1),
    uuid uuid NOT NULL,
    mark bigint NOT NULL,
    database text
);
INSERT INTO store_identity (one, uuid, mark)
    VALUES (1, gen_random_uuid(), floor(random() * 4294967296)::bigint);

-- The payload roots of its gateways. Rows name payload files relative to one of them; rows from
-- before this step have a whole path, of which the last two names count.
CREATE TABLE payload_root (
    path text PRIMARY KEY,
    used_at bigint NOT NULL
);

-- A payload file is identified by its own name, 36 characters, wherever its root is.
CREATE INDEX event_payload_file ON event ("right"(payload_path, 36)) WHERE payload_path IS NOT NULL;

-- Identifies the database, wherever it is: a copy of it is another one.
CREATE FUNCTION this_database() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid
    FROM pg_database WHERE datname = current_database()
$$;
