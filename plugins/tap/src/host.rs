//! What the tap takes from the process that it runs in.

use std::{fmt::Debug, sync::Arc};

use as2hook_config::Config;
use as2hook_delivery::{Attempted, Directory, Target};
use as2hook_event::{Event, EventKind, Findings, Query, Rule, RuleSet, Verdict};
use uuid::Uuid;

/// The config and the rules that events are matched with. An exchange keeps those it began with.
#[derive(Clone, Debug)]
pub struct TapRules {
    /// Partners, stations, keys and limits.
    pub config: Arc<Config>,
    /// The rules of the config.
    pub rules: Arc<RuleSet>,
    /// The webhooks that partners have set over the config API.
    pub partner_rules: Arc<RuleSet>,
}

/// Says which rules are in force, and counts what the tap sees.
pub trait TapHost: Debug + Send + Sync + 'static {
    /// The rules in force.
    fn rules(&self) -> Arc<TapRules>;

    /// An event of this site came of an exchange, and its response is over.
    fn event(&self, _id: Uuid, _site: &str, _kind: EventKind) {}

    /// An exchange of this site is over: what it came to, and the codes of its processing errors.
    fn exchange(&self, _site: &str, _kind: EventKind, _errors: &[u16]) {}

    /// A message was decoded.
    fn decoded(&self, _event: &Event) {}

    /// A message was still being decoded when its traffic went on.
    fn late_decode(&self) {}

    /// A delivery was attempted. Must not block.
    fn attempted(&self, _attempt: &Attempted<'_>) {}
}

/// Counts what an exchange came to, by its verdict where the event has not got it yet.
pub(crate) fn concluded(host: &dyn TapHost, event: &Event, verdict: Option<&Verdict>) {
    let kind = verdict.map_or(event.kind, |verdict| verdict.kind);
    host.event(event.id, &event.site, kind);
    let more = verdict.into_iter().flat_map(|verdict| &verdict.errors);
    let codes = event.processing_errors().chain(more).map(|error| error.code.number());
    host.exchange(&event.site, kind, &codes.collect::<Vec<_>>());
}

/// A host that never changes its rules.
impl TapHost for TapRules {
    fn rules(&self) -> Arc<TapRules> {
        Arc::new(self.clone())
    }
}

impl Directory for TapRules {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.webhook(webhook).cloned()
    }
}

// === impl TapRules ===

impl TapRules {
    /// Those of a config alone.
    pub fn new(config: Config, rules: RuleSet) -> Self {
        Self { config: Arc::new(config), rules: Arc::new(rules), partner_rules: Arc::default() }
    }

    /// The webhooks that get such an event, the most specific first; the partner's own last.
    pub fn webhooks(&self, query: &Query<'_>, findings: &Findings) -> Vec<Arc<Rule>> {
        let own = self.partner_rules.matches(query, findings);
        self.rules.matches(query, findings).iter().chain(own.iter()).cloned().collect()
    }

    /// The webhooks that such an event can be reported to, whatever its signature and errors turn out to be.
    pub fn candidates(&self, query: &Query<'_>) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.candidates(query).into_iter().chain(self.partner_rules.candidates(query))
    }

    /// The deliveries of an event that no exchange brought about.
    pub fn targets(&self, event: &Event) -> Vec<Target> {
        let webhooks = self.webhooks(&Query::from(event), &Findings::of(event));
        webhooks.iter().map(|rule| Target::of(rule, event)).collect()
    }

    /// The webhook of this name, of the rules or of the API.
    pub fn webhook(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules.get(name).or_else(|| self.partner_rules.get(name))
    }
}
