-- The webhooks that partners have over the config API. `secret` is sealed by the gateway, and empty
-- when there is none; `events` is a JSON list, empty when none was chosen.
CREATE TABLE partner_webhooks (
    site TEXT NOT NULL,
    partner INTEGER NOT NULL,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    enabled INTEGER NOT NULL,
    events TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (site, partner)
) STRICT, WITHOUT ROWID;
