//! Changes outside of a message's path: webhooks are configured, gateways report.

use crate::{
    clock,
    columns::{key, number},
    gateways::GatewayReport,
    model::{AuditEntry, WebhookState},
    partner_webhook::{PartnerWebhook, PartnerWebhookChange},
    rows::{FromSqlRow as _, SqlValue},
    store::StoreError,
    transaction::{Statement, StoreChange, Transaction},
};

/// How long a gateway that does not report stays in the list, in milliseconds.
const REPORT_KEPT_MS: i64 = 24 * 3600 * 1000;

/// How many configurations are kept.
const CONFIGURATIONS: i64 = 100;

/// How many actions of callers are kept of each site.
const ACTIONS: i64 = 10_000;

/// Stores a webhook's health, while the configuration of this generation is the newest.
pub(crate) struct SetWebhookState(pub(crate) i64, pub(crate) WebhookState);

impl StoreChange for SetWebhookState {
    type Outcome = ();

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<(), StoreError> {
        let Self(generation, state) = self;
        check_newest(transaction, *generation).await?;
        let name = || state.webhook.as_str().into();
        let added = "INSERT INTO webhook (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";
        let sql = "UPDATE webhook SET disabled = $2, failing_since = $3, fingerprint = $4 WHERE name = $1";
        let values = vec![
            name(),
            state.disabled.as_deref().into(),
            state.failing_since.into(),
            state.fingerprint.as_str().into(),
        ];
        let statements = vec![
            Statement::new(added, [name()]),
            Statement::new(sql, values),
            Statement::notify("state", &state.webhook),
        ];
        transaction.end(statements).await.map(drop)
    }
}

/// Keeps what a caller of the API did.
impl StoreChange for AuditEntry {
    type Outcome = ();

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<(), StoreError> {
        let texts = [&self.token, &self.site, &self.action, &self.target, &self.result];
        let texts = texts.map(|text| SqlValue::Text(key(text).into_owned()));
        let sql = "INSERT INTO audit (at, token, site, action, target, result)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let added = Statement::new(sql, [SqlValue::from(self.at)].into_iter().chain(texts));
        let sql = "DELETE FROM audit WHERE site = $1
            AND id <= (SELECT id FROM audit WHERE site = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
        let removed = [SqlValue::Text(key(&self.site).into_owned()), ACTIONS.into()];
        transaction.end(vec![added, Statement::new(sql, removed)]).await.map(drop)
    }
}

/// Creates or changes a partner's webhook, and returns it. `None`: it does not exist, and the change has
/// no URL.
impl StoreChange for PartnerWebhookChange {
    type Outcome = Option<PartnerWebhook>;

    async fn make<T: Transaction>(
        &self,
        transaction: &mut T,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        let events = self.events.as_ref().map(serde_json::to_string).transpose();
        let events = events.map_err(|error| StoreError::Database(error.to_string()))?;
        let key = || [self.site.as_str().into(), number(self.partner).into()];
        if let Some(url) = &self.url {
            let sql = "INSERT INTO partner_webhook (site, partner, url, secret, enabled, events, changed_at)
                VALUES ($1, $2, $3, $4, true, '[]', clock_ms()) ON CONFLICT (site, partner) DO NOTHING";
            let values =
                key().into_iter().chain([url.as_str().into(), SqlValue::Bytes(Vec::new())]);
            transaction.execute(sql, values.collect()).await?;
        }
        let sql = format!(
            "UPDATE partner_webhook SET url = coalesce($3, url), secret = coalesce($4, secret),
                enabled = coalesce($5, enabled), events = coalesce($6, events),
                changed_at = clock_ms()
            WHERE site = $1 AND partner = $2 RETURNING {}",
            PartnerWebhook::COLUMNS
        );
        let changed = [
            self.url.as_deref().into(),
            self.sealed_secret.clone().map_or(SqlValue::Null, SqlValue::Bytes),
            self.enabled.map(i64::from).into(),
            events.as_deref().into(),
        ];
        let changed = Statement::new(sql, key().into_iter().chain(changed));
        let replies = transaction.end(vec![changed, Statement::notify("partner", "")]).await?;
        Ok(replies.into_iter().next().unwrap_or_default().read()?.pop())
    }
}

/// Replaces the gateway's report, and removes gateways that have not reported for long. Returns the
/// generation of its configuration.
impl StoreChange for GatewayReport {
    type Outcome = i64;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<i64, StoreError> {
        // A gateway that reports its end has no configuration any more.
        let generation = match self.seen_at {
            0 => self.generation,
            _ => generation(transaction, self).await?,
        };
        let sql = "INSERT INTO gateway (uuid, host, process, version, started_at, seen_at, rules, generation)
            VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 = 1 THEN 0 ELSE clock_ms() END, $7, $8)
            ON CONFLICT (uuid) DO UPDATE SET seen_at = excluded.seen_at, rules = excluded.rules,
                generation = excluded.generation";
        let values = vec![
            SqlValue::Id(self.id),
            self.host.as_str().into(),
            i64::from(self.process).into(),
            self.version.as_str().into(),
            self.started_at.into(),
            i64::from(self.seen_at == 0).into(),
            self.rules.as_str().into(),
            generation.into(),
        ];
        let removed = "DELETE FROM gateway WHERE seen_at < clock_ms() - $1";
        let statements =
            vec![Statement::new(sql, values), Statement::new(removed, [REPORT_KEPT_MS.into()])];
        transaction.end(statements).await?;
        Ok(generation)
    }
}

/// Fails when a running gateway has a newer configuration than `generation`; 0 is none. None gets one
/// before the transaction ends.
pub(crate) async fn check_newest<T: Transaction>(
    transaction: &mut T,
    generation: i64,
) -> Result<(), StoreError> {
    if generation == 0 {
        return Ok(());
    }
    let lock = "SELECT pg_advisory_xact_lock_shared(1634882404, $1)";
    let sql = "SELECT 1 FROM gateway
        WHERE generation > $1 AND seen_at BETWEEN clock_ms() - $2 AND clock_ms() + $3 LIMIT 1";
    let values = [generation.into(), GatewayReport::ALIVE_MS.into(), ahead().into()];
    let statements = vec![Statement::postgres(lock, [1.into()]), Statement::new(sql, values)];
    let newer = transaction.send(statements).await?.pop().unwrap_or_default();
    if newer.rows.is_empty() { Ok(()) } else { Err(StoreError::OlderConfiguration) }
}

/// Selects the gateways that reported in the last `age` milliseconds.
pub(crate) fn gateways(age: i64) -> Statement {
    let sql = format!(
        "SELECT {} FROM gateway
        WHERE seen_at BETWEEN clock_ms() - $1 AND clock_ms() + $2 ORDER BY started_at, uuid",
        GatewayReport::COLUMNS
    );
    Statement::new(sql, [age.into(), ahead().into()])
}

/// How far a report may be ahead, in milliseconds: one that is further was made before the clock was
/// set back. Until the new time is accepted, another process may use the other time.
fn ahead() -> i64 {
    if clock::is_doubted() { i64::MAX / 2 } else { GatewayReport::ALIVE_MS }
}

async fn generation<T: Transaction>(
    transaction: &mut T,
    report: &GatewayReport,
) -> Result<i64, StoreError> {
    let sql = "SELECT generation FROM gateway WHERE uuid = $1";
    let stored: Option<(i64,)> = transaction.rows(sql, vec![SqlValue::Id(report.id)]).await?.pop();
    match known_generation(transaction, report).await? {
        // Nothing changes, so that the periodic reports wait for no other transaction.
        Some(known) if stored == Some((known,)) => return Ok(known),
        // Until the commit no other gateway gets a generation.
        _ => {
            let sql = "SELECT pg_advisory_xact_lock(1634882404, $1)";
            transaction.send(vec![Statement::postgres(sql, [1.into()])]).await?;
        }
    }
    match known_generation(transaction, report).await? {
        Some(known) => Ok(known),
        None => {
            let sql = "INSERT INTO configuration (hash) VALUES ($1) RETURNING generation";
            let given = transaction.rows(sql, vec![report.rules.as_str().into()]).await?.pop();
            let given = given.map_or(0, |(generation,)| generation);
            let sql = "DELETE FROM configuration WHERE generation < $1";
            transaction.execute(sql, vec![(given - CONFIGURATIONS).into()]).await?;
            Ok(given)
        }
    }
}

/// Returns the generation of the newest configuration, if this is it, or the one that was reported before.
async fn known_generation<T: Transaction>(
    transaction: &mut T,
    report: &GatewayReport,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT generation, hash FROM configuration ORDER BY generation DESC LIMIT 1";
    let newest: Option<(i64, String)> = transaction.rows(sql, Vec::new()).await?.pop();
    let same = newest.filter(|(_, hash)| *hash == report.rules).map(|(newest, _)| newest);
    Ok(same.or(Some(report.generation).filter(|&generation| generation != 0)))
}
