//! What happens by itself when time passes: MDNs are overdue, certificates expire, and what was
//! remembered long enough is forgotten.
//!
//! Each is reported once, also after restarts and by several gateways of one store: the record that it was
//! reported and the event are one commit.

mod watch;

use std::{sync::Arc, time::Duration};

use as2hook_as2::{Headers, hex};
use as2hook_delivery::{Outbox, OutboxError, writes};
use as2hook_event::{Event, EventKind, PartnerType, clock};
use as2hook_store::{Before, Prune, Record, RecordChange, Store, StoreError, Write};
use jiff::Timestamp;
use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    hash::MessageDigest,
    x509::X509Ref,
};
use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval};

use self::watch::ClockWatch;
pub use self::watch::in_words;
use crate::{
    TapHost, TapRules,
    records::{MOST, SENT},
    sent::{Sent, SentState},
};
use as2hook_config::Config;

/// How often is looked whether an MDN is overdue.
const EVERY: Duration = Duration::from_secs(1);

/// When an MDN is looked at again whose overdue notice the store did not take, in milliseconds.
const PUT_OFF_MS: i64 = 60_000;

/// How often the certificates are looked at: each so many turns, and whenever the config was reloaded.
const CERTIFICATES: u64 = 3600;

/// How often what is over is forgotten, in turns.
const FORGETTING: u64 = 20;

/// Notes that one call to the store forgets.
const FORGOTTEN: usize = 10_000;

/// Notes that one turn looks at.
const AT_ONCE: usize = 200;

/// So long before its end a certificate is reported, in days; the last is when it has expired.
const THRESHOLDS: [i64; 4] = [0, 1, 7, 30];

/// How long it is remembered that a certificate was reported.
const REMEMBERED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs until the process ends.
pub async fn run(host: Arc<dyn TapHost>, outbox: Outbox, store: Arc<dyn Store>) {
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turn, mut known) = (0u64, None::<Arc<Config>>);
    let mut watch = ClockWatch::new(store.clone());
    loop {
        turns.tick().await;
        let rules = host.rules();
        // What goes by the time and cannot be undone waits for a clock that is believed.
        let in_doubt = watch.is_in_doubt().await;
        // An MDN that came may still wait in memory.
        if !in_doubt && outbox.is_settled() {
            tell_overdue(&*host, &rules, &outbox).await;
        }
        let is_other = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &rules.config));
        if !in_doubt && (turn.is_multiple_of(CERTIFICATES) || is_other) {
            known = Some(rules.config.clone());
            tell_certificates(&*host, &rules, &outbox).await;
        }
        if turn.is_multiple_of(FORGETTING)
            && let Err(error) = forget(&*store, in_doubt).await
        {
            tracing::debug!(%error, "What is over could not be forgotten now.");
        }
        turn += 1;
    }
}

/// Forgets what is over, unless the clock is in doubt, and what is too much: all of it, however fast it
/// comes.
async fn forget(store: &dyn Store, in_doubt: bool) -> Result<(), StoreError> {
    let all = FORGOTTEN as u64;
    while !in_doubt && store.prune(Prune::Records(clock::now()), FORGOTTEN).await? == all {}
    while store.prune(Prune::RecordsBeyond(MOST), FORGOTTEN).await? == all {}
    Ok(())
}

async fn tell_overdue(host: &dyn TapHost, rules: &TapRules, outbox: &Outbox) {
    let due = match outbox.due_records(AT_ONCE).await {
        Ok(due) => due,
        Err(error) => {
            tracing::debug!(%error, "Overdue MDNs cannot be looked for now.");
            return;
        }
    };
    let (mut left, mut last) = (0, None);
    for record in due {
        match report_overdue(host, rules, outbox, &record).await {
            Ok(()) => continue,
            // The store takes no other either.
            Err(OutboxError::Store(error)) if error.may_pass() => {
                tracing::warn!(%error, "Overdue MDNs cannot be reported now; trying again.");
                return;
            }
            Err(error) => {
                let id = Sent::read(&record).map(|sent| sent.message_id).unwrap_or_default();
                tracing::debug!(%error, id, "An overdue MDN was put off.");
                (left, last) = (left + 1, Some(error));
            }
        }
        // Those behind it must not wait for it.
        if let Err(error) = outbox.commit(vec![put_off(record)]).await {
            tracing::warn!(%error, "An overdue MDN could not be put off; trying again.");
            return;
        }
    }
    if let Some(error) = last {
        tracing::warn!(
            left, %error,
            "Overdue MDNs cannot be reported, since the store does not take them; trying again in a minute."
        );
    }
}

/// Postpones a record, unless it was changed meanwhile.
fn put_off(record: Record) -> Write {
    let before = Before::Body(record.body.clone());
    let due = Some(clock::now().saturating_add(PUT_OFF_MS));
    Write::Record(RecordChange { record: Record { due, ..record }, before })
}

/// Reports one that is due. A record that this version cannot read is an error: it is put off like one that
/// cannot be written.
async fn report_overdue(
    host: &dyn TapHost,
    rules: &TapRules,
    outbox: &Outbox,
    record: &Record,
) -> Result<(), OutboxError> {
    let sent = record.key.starts_with(SENT).then(|| Sent::read(record)).flatten();
    let Some(sent) = sent else {
        return Err(StoreError::Database("the record cannot be read".to_owned()).into());
    };
    let partner = rules.config.partner(&sent.partner);
    if partner.is_some_and(|partner| !partner.has_async_mdns_here()) {
        // The config was another when the message was sent. The record stays, and is due no more.
        tracing::info!(
            partner = sent.partner,
            message_id = sent.message_id,
            "No asynchronous MDN came in time, which is not reported: the partner's `async_mdn` is `elsewhere`."
        );
        let event = overdue(rules, &sent, Headers::new());
        let once = writes::once(sent.becomes(SentState::Sent, record), &event, &[])?;
        return Ok(outbox.commit(vec![once]).await?);
    }
    let event = overdue(rules, &sent, sent.headers(outbox).await?);
    let targets = rules.targets(&event);
    let once = writes::once(sent.becomes(SentState::Overdue, record), &event, &targets)?;
    outbox.commit(vec![once]).await?;
    host.event(event.id, event.kind);
    Ok(())
}

fn overdue(rules: &TapRules, sent: &Sent, headers: Headers) -> Event {
    let mut extra = Map::new();
    extra.insert("messageEventId".to_owned(), json!(sent.event));
    extra.insert("sentAt".to_owned(), json!(sent.at));
    extra.insert("deadline".to_owned(), json!(sent.deadline));
    let partner = rules.config.partner(&sent.partner);
    Event {
        site: sent.site.clone(),
        partner: Some(sent.partner.clone()),
        station: Some(sent.station.clone()),
        partner_type: partner.map_or(PartnerType::Production, |partner| partner.partner_type),
        headers,
        extra,
        ..Event::new(EventKind::MdnOverdue)
    }
}

async fn tell_certificates(host: &dyn TapHost, rules: &TapRules, outbox: &Outbox) {
    for found in certificates(&rules.config) {
        let Some(days) = days_left(found.certificate) else { continue };
        let Some(&threshold) = THRESHOLDS.iter().find(|&&threshold| days < threshold) else {
            continue;
        };
        let Some(notice) = found.notice(rules, days, threshold) else { continue };
        let targets = rules.targets(&notice.event);
        // To be reported when a rule asks for it, and once.
        if targets.is_empty() || !matches!(outbox.record(&notice.change.record.key).await, Ok(None))
        {
            continue;
        }
        host.event(notice.event.id, notice.event.kind);
        let written = match writes::once(notice.change, &notice.event, &targets) {
            Ok(once) => outbox.commit(vec![once]).await.map_err(OutboxError::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "An expiring certificate could not be reported now.");
        }
    }
}

/// A certificate of the config, and whose it is.
struct NamedCertificate<'a> {
    certificate: &'a X509Ref,
    /// `partner`, `station`, `listener`, `partnerTls`.
    usage: &'static str,
    partner: Option<&'a str>,
    station: Option<&'a str>,
}

struct Notice {
    change: RecordChange,
    event: Event,
}

// === impl NamedCertificate ===

impl NamedCertificate<'_> {
    fn notice(&self, rules: &TapRules, days: i64, threshold: i64) -> Option<Notice> {
        let fingerprint = hex::encode(&self.certificate.digest(MessageDigest::sha256()).ok()?);
        let serial = self.certificate.serial_number().to_bn().ok()?.to_vec();
        let of = self.partner.or(self.station).unwrap_or_default();
        let key = json!([fingerprint, self.usage, of, threshold]);
        let record = Record {
            key: format!("certificate:{key}"),
            body: Vec::new(),
            due: None,
            expires: clock::after(clock::now(), REMEMBERED),
        };
        let mut extra = Map::new();
        extra.insert("usage".to_owned(), json!(self.usage));
        extra.insert("subject".to_owned(), json!(name(self.certificate)));
        extra.insert("serial".to_owned(), json!(hex::encode(&serial)));
        extra.insert("sha256".to_owned(), json!(fingerprint));
        extra.insert("notAfter".to_owned(), json!(rfc3339(self.certificate.not_after())));
        extra.insert("daysLeft".to_owned(), json!(days.max(0)));
        extra.insert("expired".to_owned(), Value::Bool(threshold == 0));
        let partner = self.partner.and_then(|partner| rules.config.partner(partner));
        let site = partner.map_or(&rules.config.site, |partner| &partner.site);
        let event = Event {
            site: site.clone(),
            partner: self.partner.map(str::to_owned),
            station: self.station.map(str::to_owned),
            partner_type: partner.map_or(PartnerType::Production, |partner| partner.partner_type),
            extra,
            ..Event::new(EventKind::CertificateExpiring)
        };
        Some(Notice { change: RecordChange { record, before: Before::Absent }, event })
    }
}

fn certificates(config: &Config) -> Vec<NamedCertificate<'_>> {
    let mut found = Vec::new();
    for partner in &config.partners {
        let of = |usage| {
            move |certificate| NamedCertificate {
                certificate,
                usage,
                partner: Some(&partner.as2_id),
                station: None,
            }
        };
        found.extend(partner.certificates.iter().map(|one| &**one).map(of("partner")));
        let tls = partner.tls.iter();
        let client = tls.filter_map(|tls| tls.client()?.0.first());
        found.extend(client.map(|one| &**one).map(of("partnerTls")));
    }
    for station in &config.stations {
        found.extend(station.keys.iter().map(|key| NamedCertificate {
            certificate: &key.certificate,
            usage: "station",
            partner: None,
            station: Some(&station.as2_id),
        }));
    }
    let listeners = [Some(&config.listen.inbound), config.listen.outbound.as_ref()];
    let tls = listeners.into_iter().flatten().filter_map(|listener| listener.tls.as_ref());
    found.extend(tls.filter_map(|tls| tls.chain.first()).map(|certificate| NamedCertificate {
        certificate,
        usage: "listener",
        partner: None,
        station: None,
    }));
    found
}

/// Whole days until its end; negative behind it.
fn days_left(certificate: &X509Ref) -> Option<i64> {
    let now = Asn1Time::from_unix(clock::now().div_euclid(1000)).ok()?;
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
    fn certificate_end_is_read_to_the_second() {
        let before = Timestamp::now().as_second();
        let certificate = ends_in(1000);
        let after = Timestamp::now().as_second();
        let read = rfc3339(certificate.not_after()).unwrap().as_second();
        assert!((before + 1000..=after + 1000).contains(&read), "{read}");
    }
}
