-- Webhooks of the config API, and gateways.

-- Creates or changes a partner's webhook, and returns it: no row when it does not exist and there
-- is no URL to create it with.
CREATE FUNCTION configure(its_site text, its_partner bigint, new_url text, new_secret bytea,
    new_enabled boolean, new_events text)
RETURNS SETOF partner_webhook LANGUAGE plpgsql AS $$
BEGIN
    IF new_url IS NOT NULL THEN
        INSERT INTO partner_webhook (site, partner, url, secret, enabled, events, changed_at)
        VALUES (its_site, its_partner, new_url, '', true, '[]', clock_ms())
        ON CONFLICT (site, partner) DO NOTHING;
    END IF;
    PERFORM tell_gateways('partner', '');
    RETURN QUERY UPDATE partner_webhook SET url = coalesce(new_url, url),
        secret = coalesce(new_secret, secret), enabled = coalesce(new_enabled, enabled),
        events = coalesce(new_events, events), changed_at = clock_ms()
    WHERE site = its_site AND partner = its_partner RETURNING *;
END $$;

-- Stores a webhook's health.
CREATE FUNCTION set_state(name_of text, why text, since bigint, its_fingerprint text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    number int := webhook_number(name_of);
BEGIN
    UPDATE webhook SET disabled = why, failing_since = since, fingerprint = its_fingerprint
        WHERE id = number;
    PERFORM tell_gateways('state', name_of);
END $$;

-- Replaces a gateway's report, and removes gateways that have not reported for a day. `seen_at` is
-- by the database's clock, which is the same for all; 0 means that it has terminated.
CREATE FUNCTION report(id uuid, its_host text, its_process bigint, its_version text, started bigint,
    seen bigint, its_rules text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO gateway (uuid, host, process, version, started_at, seen_at, rules)
    VALUES (id, its_host, its_process, its_version, started,
        CASE seen WHEN 0 THEN 0 ELSE clock_ms() END, its_rules)
    ON CONFLICT (uuid) DO UPDATE SET seen_at = EXCLUDED.seen_at, rules = EXCLUDED.rules;
    DELETE FROM gateway WHERE seen_at < clock_ms() - 24 * 3600 * 1000;
END $$;
