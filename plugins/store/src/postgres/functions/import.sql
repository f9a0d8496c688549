-- Imports a site that moves to this store. Existing rows stay as they are.

-- Writes events whose outcome is known. Returns how many are new.
CREATE FUNCTION import_events(events jsonb, blobs bytea[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    e jsonb;
    number bigint;
    added bigint := 0;
BEGIN
    FOR e IN SELECT jsonb_array_elements(events) LOOP
        number := add_event(NULL, e, blobs, false);
        IF number IS NOT NULL THEN
            UPDATE event SET verdict = blobs[(e->>'verdict')::int],
                idle_since = (e->>'idle_since')::bigint,
                payload_spent_at = CASE WHEN (e->>'spent')::boolean THEN clock_ms() END
            WHERE id = number;
            added := added + 1;
        END IF;
    END LOOP;
    RETURN added;
END $$;

-- Writes deliveries with their attempts, in their order. Returns how many are new.
CREATE FUNCTION import_deliveries(deliveries jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    d jsonb;
    hook int;
    made bigint;
    added bigint := 0;
BEGIN
    PERFORM lock_lanes(ARRAY(SELECT (r->>'lane')::int FROM jsonb_array_elements(deliveries) AS r));
    FOR d IN SELECT jsonb_array_elements(deliveries) LOOP
        hook := webhook_number(d->>'webhook');
        INSERT INTO delivery (webhook_id, event, webhook, mode, order_key, lane, state, due,
            attempts, tries, replay, occurred_at, blocked)
        SELECT d->>'webhook_id', e.id, hook, d->>'mode', d->>'order_key', (d->>'lane')::int,
            d->>'state', (d->>'due')::bigint, (d->>'attempts')::int, (d->>'tries')::int,
            (d->>'replay')::boolean, e.occurred_at,
            d->>'order_key' IS NOT NULL AND d->>'state' IN ('pending', 'held') AND EXISTS
                (SELECT 1 FROM delivery o WHERE o.webhook = hook AND o.order_key = d->>'order_key'
                    AND o.state IN ('pending', 'claimed', 'held'))
        FROM event e WHERE e.uuid = (d->>'event')::uuid
        ON CONFLICT (webhook_id) DO NOTHING RETURNING id INTO made;
        IF made IS NOT NULL THEN
            INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error, duration_ms,
                state, next_at)
            SELECT made, hook, a.number, a.at, a.url, a.http_code, a.error,
                a.duration_ms, a.state, a.next_at
            FROM jsonb_to_recordset(d->'log') AS a (number int, at bigint, url text, http_code int,
                error text, duration_ms bigint, state text, next_at bigint);
            INSERT INTO tally (state, n) VALUES (d->>'state', 1);
            added := added + 1;
        END IF;
    END LOOP;
    UPDATE event SET has_dead = true WHERE uuid IN (SELECT (r->>'event')::uuid
        FROM jsonb_array_elements(deliveries) AS r WHERE r->>'state' = 'dead');
    RETURN added;
END $$;

-- Records for up to `most` events after number `last` since when their payloads are not needed, now
-- that all their deliveries exist. Returns the last one's number; NULL when there are none.
CREATE FUNCTION import_done(last bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    ids := ARRAY(SELECT id FROM event WHERE id > last ORDER BY id LIMIT most);
    -- A gateway may add deliveries meanwhile.
    PERFORM 1 FROM event WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    PERFORM mark_payloads(ids);
    RETURN ids[cardinality(ids)];
END $$;

-- Writes notes.
CREATE FUNCTION import_notes(notes jsonb, blobs bytea[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO note (key, body, due, expires)
    SELECT n.key, blobs[n.body], n.due, n.expires
    FROM jsonb_to_recordset(notes) AS n (key text, body int, due bigint, expires bigint)
    ON CONFLICT (key) DO NOTHING
$$;

-- Writes the health of webhooks whose health is not stored.
CREATE FUNCTION import_states(states jsonb) RETURNS void LANGUAGE sql AS $$
    -- Before the statement that changes them, which would not see new ones.
    SELECT webhook_number(s->>'webhook') FROM jsonb_array_elements(states) AS s;
    UPDATE webhook w SET disabled = s.disabled, failing_since = s.failing_since,
        fingerprint = s.fingerprint
    FROM jsonb_to_recordset(states) AS s
        (webhook text, disabled text, failing_since bigint, fingerprint text)
    WHERE w.name = s.webhook AND w.fingerprint IS NULL
$$;

-- Writes webhooks of the config API for partners that have none.
CREATE FUNCTION import_partner_webhooks(webhooks jsonb, blobs bytea[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO partner_webhook (site, partner, url, secret, enabled, events, changed_at)
    SELECT w.site, w.partner, w.url, blobs[w.secret], w.enabled, w.events, w.changed_at
    FROM jsonb_to_recordset(webhooks) AS w (site text, partner bigint, url text, secret int,
        enabled boolean, events text, changed_at bigint)
    ON CONFLICT (site, partner) DO NOTHING
$$;
