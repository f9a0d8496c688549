//! Certificates that expire soon, or have expired.

use std::time::Duration;

use as2hook_as2::hex;
use as2hook_config::Config;
use as2hook_delivery::{Outbox, OutboxError, writes};
use as2hook_event::{Event, EventKind, PartnerType, clock};
use as2hook_store::{Before, Record, RecordChange};
use jiff::Timestamp;
use openssl::{asn1::Asn1Time, hash::MessageDigest, x509::X509Ref};
use serde_json::{Map, Value, json};

use crate::{TapHost, TapRules};

/// So long before its end a certificate is reported, in days; the last is when it has expired.
const THRESHOLDS: [i64; 4] = [0, 1, 7, 30];

/// How long it is remembered that a certificate was reported.
const REMEMBERED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A certificate of the config, and whose it is.
struct NamedCertificate<'a> {
    certificate: &'a X509Ref,
    /// `partner`, `station`, `listener`, `partnerTls`.
    usage: &'static str,
    partner: Option<&'a str>,
    station: Option<&'a str>,
}

/// Reports each certificate once that has come below a threshold.
pub(super) async fn report(host: &dyn TapHost, rules: &TapRules, outbox: &Outbox) {
    for found in certificates(&rules.config) {
        let Some((change, event)) = found.notice(rules) else { continue };
        let targets = rules.targets(&event);
        // To be reported when a rule asks for it, and once.
        if targets.is_empty() || !matches!(outbox.record(&change.record.key).await, Ok(None)) {
            continue;
        }
        host.event(event.id, &event.site, event.kind);
        let written = match writes::once(change, &event, &targets) {
            Ok(once) => outbox.commit(vec![once]).await.map_err(OutboxError::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "An expiring certificate could not be reported now.");
        }
    }
}

/// When a certificate expires, in seconds since 1970.
pub fn expiry(certificate: &X509Ref) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(certificate.not_after()).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

// === impl NamedCertificate ===

impl NamedCertificate<'_> {
    /// `None`: it is not to be reported yet.
    fn notice(&self, rules: &TapRules) -> Option<(RecordChange, Event)> {
        let expiry = expiry(self.certificate)?;
        let days = days_until(expiry);
        let threshold = THRESHOLDS.into_iter().find(|&threshold| days < threshold)?;
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
        extra.insert("notAfter".to_owned(), json!(Timestamp::from_second(expiry).ok()));
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
        Some((RecordChange { record, before: Before::Absent }, event))
    }
}

fn certificates(config: &Config) -> Vec<NamedCertificate<'_>> {
    let mut found = Vec::new();
    let mut add = |certificate, usage, partner, station| {
        found.push(NamedCertificate { certificate, usage, partner, station });
    };
    for partner in &config.partners {
        let id = Some(partner.as2_id.as_str());
        for certificate in &partner.certificates {
            add(&**certificate, "partner", id, None);
        }
        if let Some(client) = partner.tls.as_ref().and_then(|tls| tls.client()?.0.first()) {
            add(client, "partnerTls", id, None);
        }
    }
    for station in &config.stations {
        for key in &station.keys {
            add(&key.certificate, "station", None, Some(&*station.as2_id));
        }
    }
    let listeners = [Some(&config.listen.inbound), config.listen.outbound.as_ref()];
    for listener in listeners.into_iter().flatten() {
        if let Some(first) = listener.tls.as_ref().and_then(|tls| tls.chain.first()) {
            add(first, "listener", None, None);
        }
    }
    found
}

/// Whole days until then; negative behind it.
fn days_until(expiry: i64) -> i64 {
    (expiry - clock::now().div_euclid(1000)).div_euclid(86_400)
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
            assert_eq!(expiry(&ends_in(seconds)).map(days_until), Some(days), "{seconds}");
        }
    }

    #[test]
    fn certificate_end_is_read_to_the_second() {
        let before = Timestamp::now().as_second();
        let certificate = ends_in(1000);
        let after = Timestamp::now().as_second();
        let read = expiry(&certificate).unwrap();
        assert!((before + 1000..=after + 1000).contains(&read), "{read}");
    }
}
