//! Warns of rules that cannot work: names that the config does not have, events that do not come, filters that nothing
//! satisfies, other rules that always win.

use std::collections::HashMap;

use as2hook_as2::SignatureStatus;
use as2hook_event::{ErrorFilter, EventKind, Findings, PartnerType, Query, Route, Rule, RuleSet};

use crate::{Config, Partner, value::Value};

/// A signature with one of these comes with a processing error.
const WITH_ERROR: [SignatureStatus; 3] =
    [SignatureStatus::Invalid, SignatureStatus::OtherCertificate, SignatureStatus::Unsupported];

/// Warns of enabled rules at their places. They are right in themselves.
pub(crate) fn judge(config: &Config, rules: &RuleSet, places: &[Value]) {
    let known = KnownIds::of(config);
    for (rule, place) in rules.iter().zip(places).filter(|(rule, _)| rule.enabled) {
        known.judge(config, rule, place);
        let partner = rule.partner.as_deref().and_then(|id| config.partner(id));
        let judged = JudgedRule { config, rule, partner };
        if let Some(what) = judged.without_key() {
            place.get("payload").as_ref().unwrap_or(place).warn(what);
        }
        if let Some(why) = judged.events(place).or_else(|| judged.hidden(rules)) {
            place.warn(format!("it never fires: {why}"));
        }
    }
}

/// AS2 ids of the config in lower case, and as they stand there.
struct KnownIds {
    partners: HashMap<String, String>,
    stations: HashMap<String, String>,
}

/// A rule beside the config.
struct JudgedRule<'a> {
    config: &'a Config,
    rule: &'a Rule,
    /// The one that it names, if the config has it. Of another one nothing is known: its name is warned of.
    partner: Option<&'a Partner>,
}

// === impl KnownIds ===

impl KnownIds {
    fn of(config: &Config) -> Self {
        let folded = |id: &String| (id.to_ascii_lowercase(), id.clone());
        Self {
            partners: config.partners.iter().map(|partner| folded(&partner.as2_id)).collect(),
            stations: config.stations.iter().map(|station| folded(&station.as2_id)).collect(),
        }
    }

    fn judge(&self, config: &Config, rule: &Rule, place: &Value) {
        let is_partner = |id: &str| config.partner(id).is_some();
        let is_station = |id: &str| config.is_station(id);
        for (key, id, known, is_known) in [
            ("partner", &rule.partner, &self.partners, &is_partner as &dyn Fn(&str) -> bool),
            ("station", &rule.station, &self.stations, &is_station),
        ] {
            let Some(id) = id.as_deref().filter(|id| !is_known(id)) else { continue };
            let what = match known.get(&id.to_ascii_lowercase()) {
                _ if id == "*" => {
                    format!(
                        "\"*\" is no wildcard here, but an AS2 id; leave `{key}` out for any {key}"
                    )
                }
                Some(meant) => {
                    format!("the {key} {id:?} is not {meant:?}: case counts in AS2 ids")
                }
                None => format!(
                    "`{key}s` of the config has no {id:?}; add it there, or put the AS2 id right"
                ),
            };
            place.get(key).as_ref().unwrap_or(place).warn(what);
        }
    }
}

// === impl JudgedRule ===

impl JudgedRule<'_> {
    /// Whether it sends content that cannot be decoded.
    fn without_key(&self) -> Option<String> {
        let (rule, stations) = (self.rule, &self.config.stations);
        if !rule.endpoint.payload.needs_payload || !rule.wants(EventKind::MessageReceived) {
            return None;
        }
        let mut able = stations.iter().filter(|station| !station.keys.is_empty());
        let station = match &rule.station {
            Some(id) if able.any(|station| station.as2_id == *id) => return None,
            Some(id) => format!("the station {id:?} has no key"),
            None if able.next().is_some() => return None,
            None => "no station has a key".to_owned(),
        };
        let payload = rule.endpoint.payload.name;
        Some(format!(
            "{payload} sends an empty body for encrypted messages: {station}; give it `keys` in the config"
        ))
    }

    /// Warns of single events that do not come; says why none of all does.
    fn events(&self, place: &Value) -> Option<String> {
        let events = self.rule.events.as_deref().unwrap_or(&EventKind::ALL);
        let absent: Vec<_> = events.iter().map(|event| self.absent(*event)).collect();
        let unmatched = events.iter().map(|event| self.unmatched(*event));
        let reasons: Vec<_> =
            absent.iter().zip(unmatched).filter_map(|(a, b)| a.clone().or(b)).collect();
        if reasons.len() == events.len() {
            // With this one mended it fires.
            return reasons.into_iter().next();
        }
        let listed = place.get("events").filter(Value::is_list).and_then(|events| events.list());
        for ((event, why), place) in events.iter().zip(absent).zip(listed.unwrap_or_default()) {
            if let Some(why) = why {
                place.warn(format!("{event} never comes: {why}"));
            }
        }
        None
    }

    /// Why there is no such event for what it names.
    fn absent(&self, event: EventKind) -> Option<String> {
        let Rule { partner, station, .. } = self.rule;
        let why = match event {
            EventKind::MessageSent | EventKind::SendError | EventKind::MdnOverdue
                if self.config.listen.outbound.is_none() =>
            {
                "no outbound listener runs; add `listen.outbound`, or leave the event out"
            }
            EventKind::MdnOverdue if self.partner.is_some_and(|it| !it.has_async_mdns_here()) => {
                "its partner has `async_mdn: elsewhere`; leave the event out"
            }
            about if about.is_about_webhooks() && (partner.is_some() || station.is_some()) => {
                return Some(format!(
                    "{about} is about no partner or station; leave them out in a rule for it"
                ));
            }
            EventKind::CertificateExpiring if partner.is_some() && station.is_some() => {
                "certificate.expiring is about a partner or a station, never about both; \
                 leave one of them out"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// Why its filters match no such event.
    fn unmatched(&self, event: EventKind) -> Option<String> {
        let Rule { partner_type, filters, site, .. } = self.rule;
        // It is about no message and no MDN.
        let is_bare = event.is_about_webhooks()
            || matches!(event, EventKind::MdnOverdue | EventKind::CertificateExpiring);
        if let Some(wanted) = *partner_type
            && !self.comes_from(event, wanted)
        {
            return Some(match self.partner {
                Some(it) => {
                    let (id, found) = (&it.as2_id, it.partner_type.as_str());
                    format!(
                        "the partner {id:?} has the type {found}, and `partner_type` is {}; make them \
                         the same",
                        wanted.as_str()
                    )
                }
                None => format!(
                    "there is no such event of the type {}; leave `partner_type` out",
                    wanted.as_str()
                ),
            });
        }
        if !self.is_site_of(event) {
            return Some(match self.partner {
                Some(it) => {
                    format!(
                        "the partner {:?} is of the site {:?}, not {site:?}; make them the same",
                        it.as2_id, it.site
                    )
                }
                None => format!(
                    "no partner is of the site {site:?}, nor is this gateway; put `site` right"
                ),
            });
        }
        let is_mdn = matches!(event, EventKind::MdnReceived | EventKind::MdnSent);
        if filters.documents.is_some() && (is_bare || is_mdn) {
            return Some("its events have no documents; leave `document` out".to_owned());
        }
        if let Some(statuses) = &filters.signature {
            if is_bare {
                return Some("its events have no signature; leave `signature` out".to_owned());
            }
            if filters.errors == Some(ErrorFilter::None)
                && statuses.iter().all(|status| WITH_ERROR.contains(status))
            {
                let what = "such a `signature` comes with an error, and `errors` is none; leave one of \
                            them out";
                return Some(what.to_owned());
            }
            return self.unsigned(event, statuses);
        }
        let is_of_errors = matches!(filters.errors, Some(ErrorFilter::Any | ErrorFilter::Codes(_)));
        (is_bare && is_of_errors)
            .then(|| "its events have no errors; leave `errors` out".to_owned())
    }

    /// Whether such an event can be of a partner of this type. Those that neither it nor the config names are
    /// Production.
    fn comes_from(&self, event: EventKind, wanted: PartnerType) -> bool {
        let is_wanted = |partner: &Partner| partner.partner_type == wanted;
        match (self.partner, &self.rule.partner) {
            _ if event.is_about_webhooks() => wanted == PartnerType::Production,
            (Some(partner), _) => is_wanted(partner),
            (None, Some(_)) => true,
            (None, None) => {
                wanted == PartnerType::Production || self.config.partners.iter().any(is_wanted)
            }
        }
    }

    /// Whether such an event can be of its site; what is of no partner is of the gateway's.
    fn is_site_of(&self, event: EventKind) -> bool {
        let (site, config) = (&self.rule.site, self.config);
        match (self.partner, &self.rule.partner) {
            // It has the site of the webhook that was disabled.
            _ if event.is_about_webhooks() => true,
            (Some(partner), _) => partner.site == *site,
            (None, Some(_)) => true,
            (None, None) => {
                config.site == *site || config.partners.iter().any(|it| it.site == *site)
            }
        }
    }

    /// Why the signature of such an event has none of these statuses.
    fn unsigned(&self, event: EventKind, statuses: &[SignatureStatus]) -> Option<String> {
        let (rule, config) = (self.rule, self.config);
        let is_only = |status| statuses.iter().all(|one| *one == status);
        let has_certificates = match event {
            EventKind::SendError => return None,
            EventKind::MessageSent | EventKind::MdnSent => {
                let id = rule.station.as_ref();
                let mut stations = config.stations.iter();
                stations.any(|it| id.is_none_or(|id| it.as2_id == *id) && !it.keys.is_empty())
            }
            _ => match (self.partner, &rule.partner) {
                (Some(partner), _) => !partner.certificates.is_empty(),
                (None, Some(_)) => true,
                (None, None) => config.partners.iter().any(|it| !it.certificates.is_empty()),
            },
        };
        if is_only(SignatureStatus::Valid) && !has_certificates {
            let whose = match event {
                EventKind::MessageSent | EventKind::MdnSent => "its station has no key",
                _ => "its partner has no certificate",
            };
            return Some(format!(
                "no signature is valid, since {whose} in the config; add it there"
            ));
        }
        let is_verified = self.partner.is_some_and(|it| !it.certificates.is_empty());
        let is_theirs = !matches!(event, EventKind::MessageSent | EventKind::MdnSent);
        (is_only(SignatureStatus::UnknownCertificate) && is_verified && is_theirs).then(|| {
            "its partner has certificates in the config, so no signature is \
             unknown-certificate; take another status"
                .to_owned()
        })
    }

    /// Which rules are more specific than it for each of its events, whatever else is known of them.
    fn hidden(&self, rules: &RuleSet) -> Option<String> {
        let rule = self.rule;
        if rule.route == Route::Always {
            return None;
        }
        let events = rule.events.as_deref().unwrap_or(&EventKind::ALL);
        let mut winners = Vec::new();
        for &event in events {
            if self.absent(event).or_else(|| self.unmatched(event)).is_some() {
                continue;
            }
            for partner_type in [PartnerType::Production, PartnerType::Test] {
                let is_other = rule.partner_type.is_some_and(|wanted| wanted != partner_type);
                if is_other || !self.comes_from(event, partner_type) {
                    continue;
                }
                // What it names is all that is known of these: whatever matches then matches always.
                let query = Query {
                    event,
                    site: &rule.site,
                    partner: rule.partner.as_deref(),
                    station: rule.station.as_deref(),
                    partner_type,
                };
                if rules.candidates(&query).iter().any(|other| other.name == rule.name) {
                    return None;
                }
                let winner = rules.matches(&query, &Findings::default()).winner?;
                if !winners.contains(&&*winner.name) {
                    winners.push(&winner.name);
                }
            }
        }
        let names: Vec<_> = winners.iter().map(|name| format!("{name:?}")).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        Some(format!(
            "{} {are} more specific for all that it is for; remove it, or give it `route: always`",
            names.join(" and ")
        ))
    }
}
