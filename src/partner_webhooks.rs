//! The webhooks of the config API, compiled: they fire besides the rules.

use std::{collections::HashMap, sync::Arc};

use as2hook_api::{PartnerWebhookView, partner_webhook_name};
use as2hook_config::Config;
use as2hook_event::{
    Endpoint, EventKind, Filters, KeptAttachments, PayloadMode, Route, Rule, RuleSet, Secret,
    SecretString,
};
use as2hook_store::PartnerWebhook;
use ipnet::IpNet;

use crate::secret_key::{SecretKey, Unopened};

pub mod loader;

/// Every webhook of the config API.
#[derive(Clone, Debug, Default)]
pub struct PartnerWebhooks(Arc<[Kept]>);

/// One as it is kept, with its secret opened.
#[derive(Clone, Debug)]
struct Kept {
    row: PartnerWebhook,
    /// `None`: it was sealed with another key.
    url: Option<SecretString>,
    /// An error: it was sealed with another key, and nothing may go out unsigned.
    secret: Result<Option<Secret>, Unopened>,
}

/// Stands in a webhook that is switched off, since its URL does not open.
const UNKNOWN_URL: &str = "https://unknown.invalid/";

// === impl PartnerWebhooks ===

impl PartnerWebhooks {
    /// The rules that they are under a config, each under its [`partner_webhook_name`].
    pub fn rules(&self, config: &Config) -> RuleSet {
        let numbered = config.partners.iter().filter_map(|partner| Some((partner.id?, partner)));
        let partners: HashMap<_, _> = numbered.collect();
        let networks: Arc<[_]> = config.api.allow_networks.clone().into();
        let rules = self.0.iter().filter_map(|kept| {
            let row = &kept.row;
            // Where the partner has gone to another site, the webhook stays behind.
            let partner = partners.get(&row.partner).filter(|partner| partner.site == row.site)?;
            rule(kept, &partner.as2_id, networks.clone(), config.keep)
        });
        let rules = RuleSet::compile(rules.collect());
        rules.expect("a partner has one webhook, which competes with no other")
    }

    /// A partner's, as the API shows it.
    pub fn view(&self, site: &str, partner: u64) -> Option<PartnerWebhookView> {
        let of = |kept: &&Kept| kept.row.partner == partner && kept.row.site == site;
        let Kept { row, url, .. } = self.0.iter().find(of)?;
        Some(PartnerWebhookView {
            partner_id: partner,
            webhook_url: url.as_ref().map(|url| url.expose().to_owned()),
            webhook_enabled: row.enabled,
            webhook_events: row.events.clone(),
            webhook_secret_set: !row.sealed_secret.is_empty(),
        })
    }

    fn open(rows: Vec<PartnerWebhook>, key: &SecretKey) -> Self {
        let kept = rows.into_iter().map(|row| {
            let name = partner_webhook_name(&row.site, row.partner);
            let url = key.unseal_url(&name, &row.url).ok().map(SecretString::from);
            if url.is_none() {
                tracing::error!(
                    webhook = name,
                    "A webhook's URL cannot be decrypted with the key in secret_key_file: its deliveries \
                     are held until it is configured again."
                );
            }
            Kept { secret: open(&row, key), url, row }
        });
        Self(kept.collect())
    }
}

fn rule(kept: &Kept, as2_id: &str, networks: Arc<[IpNet]>, keep: KeptAttachments) -> Option<Rule> {
    let Kept { row, url, secret } = kept;
    let mut endpoint =
        Endpoint::new(url.as_ref().map_or(UNKNOWN_URL, SecretString::expose).parse().ok()?);
    endpoint.payload = PayloadMode::JSON;
    endpoint.networks = Some(networks);
    endpoint.keep = keep;
    endpoint.secrets.extend(secret.clone().ok().flatten());
    let events: Vec<EventKind> = row.events.iter().filter_map(|name| name.parse().ok()).collect();
    let events = if events.is_empty() { vec![EventKind::MessageReceived] } else { events };
    Some(Rule {
        name: partner_webhook_name(&row.site, row.partner),
        events: Some(events),
        partner: Some(as2_id.to_owned()),
        station: None,
        partner_type: None,
        filters: Filters::default(),
        site: row.site.clone(),
        route: Route::Always,
        enabled: row.enabled && url.is_some() && secret.is_ok(),
        endpoint,
    })
}

fn open(row: &PartnerWebhook, key: &SecretKey) -> Result<Option<Secret>, Unopened> {
    if row.sealed_secret.is_empty() {
        return Ok(None);
    }
    let text = key.unseal(&row.site, row.partner, &row.sealed_secret);
    let secret = text.and_then(|text| Secret::parse(&text).map_err(|_| Unopened));
    if secret.is_err() {
        tracing::error!(
            site = row.site,
            partner = row.partner,
            "A webhook's secret cannot be decrypted with the key in secret_key_file: its deliveries \
             are held until it is configured again."
        );
    }
    secret.map(Some)
}
