//! What happens by itself when time passes: MDNs are overdue, certificates expire, and what was
//! remembered long enough is forgotten.
//!
//! Each is told once, also after restarts and by several gateways of one store: the note that it was
//! told and the event are one commit.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::{Outbox, Target};
use as2hook_store::{Before, Note, NoteChange};
use as2hook_webhooks::{Event, EventKind, PartnerType, Query};
use jiff::Timestamp;
use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    hash::MessageDigest,
    x509::X509Ref,
};
use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    config::{Config, hex},
    snapshot::{Live, Snapshot},
    tap::sent::{PREFIX, Sent, State},
};

/// How often is looked whether an MDN is overdue.
const EVERY: Duration = Duration::from_secs(1);

/// How often the certificates are looked at: each so many turns, and whenever the config was reloaded.
const CERTIFICATES: u64 = 3600;

/// How often what is over is forgotten, in turns.
const FORGETTING: u64 = 60;

/// Notes that one turn looks at.
const AT_ONCE: usize = 200;

/// So long before its end a certificate is told of, in days; the last is when it has expired.
const THRESHOLDS: [i64; 4] = [0, 1, 7, 30];

/// How long it is remembered that a certificate was told of.
const TOLD: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs until the process ends.
pub(crate) async fn run(live: Arc<Live>, outbox: Outbox) {
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turn, mut generation) = (0u64, 0);
    loop {
        turns.tick().await;
        let snapshot = live.load();
        tell_overdue(&live, &snapshot, &outbox).await;
        if turn.is_multiple_of(CERTIFICATES) || snapshot.generation != generation {
            generation = snapshot.generation;
            tell_certificates(&live, &snapshot, &outbox).await;
        }
        if turn.is_multiple_of(FORGETTING)
            && let Err(error) = outbox.forget_notes(AT_ONCE * 50).await
        {
            tracing::debug!(%error, "What is over could not be forgotten now.");
        }
        turn += 1;
    }
}

async fn tell_overdue(live: &Live, snapshot: &Snapshot, outbox: &Outbox) {
    let due = match outbox.due_notes(AT_ONCE).await {
        Ok(due) => due,
        Err(error) => {
            tracing::debug!(%error, "Overdue MDNs cannot be looked for now.");
            return;
        }
    };
    for note in due.iter().filter(|note| note.key.starts_with(PREFIX)) {
        let Some(sent) = Sent::read(note) else { continue };
        let event = overdue(snapshot, &sent);
        let targets = targets(snapshot, &event);
        let change = sent.becomes(State::Overdue, note);
        if let Err(error) = outbox.tell_once(change, &event, targets).await {
            tracing::warn!(%error, "An overdue MDN could not be told now.");
            return;
        }
        live.observer().event(event.id, event.kind);
    }
}

fn overdue(snapshot: &Snapshot, sent: &Sent) -> Event {
    let mut extra = Map::new();
    extra.insert("messageEventId".to_owned(), json!(sent.event));
    extra.insert("sentAt".to_owned(), json!(sent.at));
    extra.insert("deadline".to_owned(), json!(sent.deadline));
    let partner = snapshot.config.partner(&sent.partner);
    Event {
        site: sent.site.clone(),
        partner: Some(sent.partner.clone()),
        station: Some(sent.station.clone()),
        partner_type: partner.map_or(PartnerType::Production, |partner| partner.partner_type),
        headers: sent.headers.clone(),
        ..crate::notices::own_event(EventKind::MdnOverdue, extra)
    }
}

async fn tell_certificates(live: &Live, snapshot: &Snapshot, outbox: &Outbox) {
    for found in certificates(&snapshot.config) {
        let Some(days) = days_left(found.certificate) else { continue };
        let Some(&threshold) = THRESHOLDS.iter().find(|&&threshold| days < threshold) else {
            continue;
        };
        let Some(notice) = found.notice(snapshot, days, threshold) else { continue };
        let targets = targets(snapshot, &notice.event);
        // To be told when a rule asks for it, and once.
        if targets.is_empty() || outbox.note(&notice.change.note.key).await.is_some() {
            continue;
        }
        live.observer().event(notice.event.id, notice.event.kind);
        if let Err(error) = outbox.tell_once(notice.change, &notice.event, targets).await {
            tracing::warn!(%error, "An expiring certificate could not be told now.");
        }
    }
}

/// A certificate of the config, and whose it is.
struct Found<'a> {
    certificate: &'a X509Ref,
    /// `partner`, `station`, `listener`, `partnerTls`.
    usage: &'static str,
    partner: Option<&'a str>,
    station: Option<&'a str>,
}

struct Notice {
    change: NoteChange,
    event: Event,
}

// === impl Found ===

impl Found<'_> {
    fn notice(&self, snapshot: &Snapshot, days: i64, threshold: i64) -> Option<Notice> {
        let fingerprint = hex(&self.certificate.digest(MessageDigest::sha256()).ok()?);
        let serial = self.certificate.serial_number().to_bn().ok()?.to_vec();
        let of = self.partner.or(self.station).unwrap_or_default();
        let key = json!([fingerprint, self.usage, of, threshold]);
        let note = Note {
            key: format!("certificate:{key}"),
            body: Vec::new(),
            due: None,
            expires: Timestamp::now().checked_add(TOLD).unwrap_or(Timestamp::MAX).as_millisecond(),
        };
        let mut extra = Map::new();
        extra.insert("usage".to_owned(), json!(self.usage));
        extra.insert("subject".to_owned(), json!(name(self.certificate)));
        extra.insert("serial".to_owned(), json!(hex(&serial)));
        extra.insert("sha256".to_owned(), json!(fingerprint));
        extra.insert("notAfter".to_owned(), json!(rfc3339(self.certificate.not_after())));
        extra.insert("daysLeft".to_owned(), json!(days.max(0)));
        extra.insert("expired".to_owned(), Value::Bool(threshold == 0));
        let partner = self.partner.and_then(|partner| snapshot.config.partner(partner));
        let site = partner.map_or(&snapshot.config.site, |partner| &partner.site);
        let event = Event {
            site: site.clone(),
            partner: self.partner.map(str::to_owned),
            station: self.station.map(str::to_owned),
            partner_type: partner.map_or(PartnerType::Production, |partner| partner.partner_type),
            ..crate::notices::own_event(EventKind::CertificateExpiring, extra)
        };
        Some(Notice { change: NoteChange { note, before: Before::Absent }, event })
    }
}

fn certificates(config: &Config) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    for partner in &config.partners {
        let of = |usage| {
            move |certificate| Found {
                certificate,
                usage,
                partner: Some(&partner.as2_id),
                station: None,
            }
        };
        found.extend(partner.certificates.iter().map(|one| &**one).map(of("partner")));
        let tls = partner.tls.iter();
        let client = tls.filter_map(|tls| tls.client.as_ref()?.0.first());
        found.extend(client.map(|one| &**one).map(of("partnerTls")));
    }
    for station in &config.stations {
        found.extend(station.keys.iter().map(|key| Found {
            certificate: &key.certificate,
            usage: "station",
            partner: None,
            station: Some(&station.as2_id),
        }));
    }
    let listeners = [Some(&config.listen.inbound), config.listen.outbound.as_ref()];
    let tls = listeners.into_iter().flatten().filter_map(|listener| listener.tls.as_ref());
    found.extend(tls.filter_map(|tls| tls.chain.first()).map(|certificate| Found {
        certificate,
        usage: "listener",
        partner: None,
        station: None,
    }));
    found
}

/// Whole days until its end; negative behind it.
fn days_left(certificate: &X509Ref) -> Option<i64> {
    let now = Asn1Time::days_from_now(0).ok()?;
    let left = now.diff(certificate.not_after()).ok()?;
    let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
    Some(seconds.div_euclid(86_400))
}

fn rfc3339(time: &Asn1TimeRef) -> Option<Timestamp> {
    let epoch = Asn1Time::from_unix(0).ok()?;
    let since = epoch.diff(time).ok()?;
    Timestamp::from_second(i64::from(since.days) * 86_400 + i64::from(since.secs)).ok()
}

fn name(certificate: &X509Ref) -> String {
    let entries = certificate.subject_name().entries().filter_map(|entry| {
        let key = entry.object().nid().short_name().ok()?;
        Some(format!("{key}={}", entry.data().to_string().ok()?))
    });
    entries.collect::<Vec<_>>().join(", ")
}

fn targets(snapshot: &Snapshot, event: &Event) -> Vec<Target> {
    let query = Query {
        event: event.kind,
        site: &event.site,
        partner: event.partner.as_deref(),
        station: event.station.as_deref(),
        partner_type: event.partner_type,
    };
    snapshot.webhooks(&query).iter().map(|rule| Target::of(rule, event)).collect()
}

#[cfg(test)]
mod tests {
    use openssl::{bn::BigNum, pkey::PKey, x509::X509};

    use super::*;

    fn ends_in(seconds: i64) -> X509 {
        let key = PKey::generate_ed25519().unwrap();
        let mut builder = X509::builder().unwrap();
        let now = Timestamp::now().as_second();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(now + seconds).unwrap()).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::null()).unwrap();
        builder.build()
    }

    #[test]
    fn days_are_whole_and_negative_when_it_is_over() {
        const DAY: i64 = 86_400;
        for (seconds, days) in
            [(30 * DAY + 60, 30), (30 * DAY - 60, 29), (60, 0), (-60, -1), (-DAY - 60, -2)]
        {
            assert_eq!(days_left(&ends_in(seconds)), Some(days), "{seconds}");
        }
    }

    #[test]
    fn the_end_is_told_to_the_second() {
        let before = Timestamp::now().as_second();
        let certificate = ends_in(1000);
        let after = Timestamp::now().as_second();
        let told = rfc3339(certificate.not_after()).unwrap().as_second();
        assert!((before + 1000..=after + 1000).contains(&told), "{told}");
    }
}
