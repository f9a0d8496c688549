//! The certificates of the config in force that a token's site may see.

use as2hook_as2::hex;
use as2hook_config::Partner;
use as2hook_store::clock;
use as2hook_tap::timers;
use openssl::{
    hash::MessageDigest,
    nid::Nid,
    x509::{X509, X509Ref},
};

use crate::caller::Caller;

/// A certificate of the config.
pub(crate) struct ConfiguredCertificate<'a> {
    certificate: &'a X509Ref,
    /// Its common name.
    pub(crate) name: String,
    /// Lower-case hex.
    pub(crate) serial: String,
    /// Of its DER, lower-case hex.
    pub(crate) sha256: String,
    /// Seconds since 1970.
    pub(crate) ends: i64,
    /// The partner it belongs to.
    pub(crate) partner: Option<&'a str>,
    /// What it is for, in words.
    pub(crate) usage: String,
}

/// A certificate, the partner it belongs to, and what it is for.
type NamedCertificate<'a> = (&'a X509Ref, Option<&'a str>, String);

// === impl ConfiguredCertificate ===

impl<'a> ConfiguredCertificate<'a> {
    fn new((certificate, partner, usage): NamedCertificate<'a>) -> Option<Self> {
        let digest = certificate.digest(MessageDigest::sha256()).ok()?;
        let serial = certificate.serial_number().to_bn().ok()?.to_vec();
        Some(Self {
            certificate,
            name: common_name(certificate),
            serial: hex::encode(&serial),
            sha256: hex::encode(&digest),
            ends: timers::expiry(certificate)?,
            partner,
            usage,
        })
    }

    /// Returns how long it is valid yet; less than 0 behind its end.
    pub(crate) fn seconds_left(&self) -> i64 {
        self.ends - clock::now().div_euclid(1000)
    }

    /// Returns the same in whole days.
    pub(crate) fn days_left(&self) -> i64 {
        self.seconds_left().div_euclid(86_400)
    }

    pub(crate) fn pem(&self) -> Option<Vec<u8>> {
        self.certificate.to_pem().ok()
    }
}

/// Returns all that the caller's site sees, those that end first.
pub(crate) fn all(caller: &Caller) -> Vec<ConfiguredCertificate<'_>> {
    let mut found: Vec<_> =
        named(caller).into_iter().filter_map(ConfiguredCertificate::new).collect();
    found.sort_by(|a, b| (a.ends, &a.sha256, &a.usage).cmp(&(b.ends, &b.sha256, &b.usage)));
    found
}

/// Returns those of a partner, those that end first.
pub(crate) fn of_partner(partner: &Partner) -> Vec<ConfiguredCertificate<'_>> {
    let mut found: Vec<_> =
        named_by(partner).into_iter().filter_map(ConfiguredCertificate::new).collect();
    found.sort_by_key(|one| one.ends);
    found
}

/// Returns when each of [`all`] ends, in seconds since 1970: each page asks.
pub(crate) fn certificate_ends(caller: &Caller) -> impl Iterator<Item = i64> {
    named(caller).into_iter().filter_map(|(certificate, ..)| timers::expiry(certificate))
}

/// Returns all that the caller's site sees. Stations and listeners are the gateway's, so the default site alone sees
/// them.
fn named(caller: &Caller) -> Vec<NamedCertificate<'_>> {
    let config = caller.config();
    let partners = config.partners.iter().filter(|partner| partner.site == caller.site());
    let mut found: Vec<NamedCertificate<'_>> = partners.flat_map(named_by).collect();
    if caller.is_of_default_site() {
        for station in &config.stations {
            let usage = || format!("key of {}", station.as2_id);
            found.extend(station.keys.iter().map(|key| (&*key.certificate, None, usage())));
        }
        let listeners = [
            ("inbound", Some(&config.listen.inbound)),
            ("outbound", config.listen.outbound.as_ref()),
        ];
        for (name, listener) in listeners {
            let chain = listener.and_then(|listener| listener.tls.as_ref());
            let first: Option<&X509> = chain.and_then(|tls| tls.chain.first());
            found
                .extend(first.map(|first| (&**first, None, format!("TLS of the {name} listener"))));
        }
    }
    found
}

fn named_by(partner: &Partner) -> Vec<NamedCertificate<'_>> {
    let id = Some(partner.as2_id.as_str());
    let signs = partner.certificates.iter().map(|one| (&**one, id, "signs with it".to_owned()));
    let client = partner.tls.as_ref().and_then(|tls| tls.client()?.0.first());
    let client = client.map(|client| (&**client, id, "is shown it in TLS".to_owned()));
    signs.chain(client).collect()
}

fn common_name(certificate: &X509Ref) -> String {
    let subject = certificate.subject_name();
    let common = subject.entries_by_nid(Nid::COMMONNAME).next();
    let common = common.and_then(|entry| entry.data().to_string().ok());
    common.unwrap_or_else(|| "without a common name".to_owned())
}
