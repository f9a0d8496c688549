//! `as2hook.yaml`: everything but the rules. `conf/as2hook.yaml` explains each key.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use as2hook_as2::{Keyring, StationKey};

use super::{
    Api, ConfigDiagnostic, Limits, Listen, Partner, PayloadLocation, Receiver, Retention, Station,
    StoreLocation,
    fixed::Fixed,
    keys,
    read::{Table, Value},
    site,
};

/// The gateway's config, complete and judged: what is in here holds.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The tenant that this gateway serves by default. Default `main`.
    pub site: String,
    /// Where the gateway is called.
    pub listen: Listen,
    /// The AS2 server behind it.
    pub receiver: Receiver,
    /// Where events and deliveries are kept.
    pub store: StoreLocation,
    /// Where raw payloads wait for their deliveries.
    pub payloads: PayloadLocation,
    /// Whether payloads may go to S3 over plain `http://`. Default: no.
    pub payloads_allow_http: bool,
    /// Whether payloads are sealed where they lie, with a key made of [`Self::secret_key_file`]'s.
    /// Default: no.
    pub encrypt_payloads: bool,
    /// The rules' file, or a folder of `*.yaml`. Default `webhooks.yaml`.
    pub webhooks: PathBuf,
    /// Our own AS2 identities.
    pub stations: Vec<Station>,
    /// Remote AS2 identities.
    pub partners: Vec<Partner>,
    /// All keys and certificates of stations and partners, as the decoder takes them.
    pub keyring: Arc<Keyring>,
    /// Who may ask.
    pub api: Api,
    /// Bounds.
    pub limits: Limits,
    /// How long exchanges in flight may take to finish after SIGTERM. Default 20 s.
    pub drain: Duration,
    /// What becomes of traffic when an event cannot be stored. Default: pass.
    pub on_store_failure: StoreFailurePolicy,
    /// Whether DES, RC2-40 and RC2-128 are decoded too. Default: no.
    pub legacy_algorithms: bool,
    /// When an asynchronous MDN that did not come is overdue. Default 24 h.
    pub mdn_deadline: Duration,
    /// How long a message is remembered, to tell that it came again. Default 7 days.
    pub duplicate_window: Duration,
    /// How long reported events are kept.
    pub retention: Retention,
    /// Encrypts secrets at rest; made on first run. Default `data/secret.key`.
    pub secret_key_file: PathBuf,
    pub(super) fixed: Fixed,
    by_as2_id: HashMap<String, usize>,
    station_ids: HashSet<String>,
}

/// What becomes of traffic when an event cannot be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreFailurePolicy {
    /// It goes on; events are held in bounded memory.
    #[default]
    Pass,
    /// It gets a 503, so that the partner sends again.
    Refuse,
}

/// The keys of the document.
pub(super) const KEYS: &[&str] = &[
    "site",
    "listen",
    "receiver",
    "store",
    "payloads",
    "payloads_allow_http",
    "encrypt_payloads",
    "webhooks",
    "stations",
    "partners",
    "api",
    "limits",
    "drain",
    "on_store_failure",
    "legacy_algorithms",
    "mdn_deadline",
    "duplicate_window",
    "retention",
    "secret_key_file",
];

const HOUR: Duration = Duration::from_secs(3600);

// === impl Config ===

impl Config {
    /// How a message is decoded under this config.
    pub fn decode_options(&self) -> as2hook_as2::Options {
        as2hook_as2::Options {
            limits: self.limits.decode,
            legacy_algorithms: self.legacy_algorithms,
        }
    }

    /// The partner with this AS2 id.
    pub fn partner(&self, as2_id: &str) -> Option<&Partner> {
        self.partners.get(*self.by_as2_id.get(as2_id)?)
    }

    /// Whether this AS2 id is one of ours.
    pub fn is_station(&self, as2_id: &str) -> bool {
        self.station_ids.contains(as2_id)
    }

    /// What is right, but not built into this gateway yet. With any, it cannot run.
    pub fn unsupported(&self) -> Vec<ConfigDiagnostic> {
        let mut mistakes = Vec::new();
        let mut tell = |wrong: bool, path: &str, what: &str| {
            if wrong {
                mistakes.extend(self.fixed.mistake(path, what, &self.file));
            }
        };
        let in_s3 = matches!(self.payloads, PayloadLocation::S3(_));
        tell(
            in_s3 && !cfg!(feature = "s3"),
            "payloads",
            "S3 is not built in: build as2hook with `cargo build --release --features s3`, or name a \
             folder",
        );
        let admin_tls = self.listen.admin.tls.is_some();
        tell(
            admin_tls,
            "listen.admin",
            "TLS is not built in here yet; leave tls out, and the address on loopback",
        );
        mistakes
    }

    /// What `new` changes although it cannot change while the gateway runs, at its places in the
    /// new file. With any, `new` must not be taken.
    pub fn fixed_differences(&self, new: &Self) -> Vec<ConfigDiagnostic> {
        self.fixed.differences(&new.fixed, &new.file)
    }

    /// Judges the whole document but the rules. `None` only when what has no default is missing or
    /// wrong; every mistake has been noted either way.
    pub(super) fn read(table: &Table<'_>, file: &Path) -> Option<Self> {
        let site = read_site(table);
        let listen = table.read("listen", Listen::read).unwrap_or_default();
        let receiver = table.need("receiver", Receiver::read);
        let relative = |path: &str| table.resolve(path);
        let store = table.read("store", StoreLocation::read);
        let store = store.unwrap_or_else(|| StoreLocation::Sqlite(relative("data/as2hook.db")));
        let payloads_allow_http = table.read_or("payloads_allow_http", false, Value::switch);
        let payloads = table
            .read("payloads", |value| PayloadLocation::read(value, &store, payloads_allow_http));
        let payloads =
            payloads.unwrap_or_else(|| PayloadLocation::Folder(relative("data/payloads")));
        let secret_key_file = table.read("secret_key_file", Value::path);
        let secret_key_file = secret_key_file.unwrap_or_else(|| relative("data/secret.key"));
        let stations = table.read("stations", read_stations).unwrap_or_default();
        let partners = table.read("partners", |value| read_partners(value, &site));
        let partners = partners.unwrap_or_default();
        if let (Some(outbound), Some(_)) = (&listen.outbound, table.get("partners")) {
            judge_outbound(table, outbound.address, &partners);
        }
        let on_failure = |value: &Value<'_>| {
            value.choice(&[
                ("pass", StoreFailurePolicy::Pass),
                ("refuse", StoreFailurePolicy::Refuse),
            ])
        };
        let duration = |key, default| table.read_or(key, default, Value::duration);
        let on_store_failure =
            table.read_or("on_store_failure", StoreFailurePolicy::Pass, on_failure);
        let config = Self {
            file: file.to_owned(),
            webhooks: table
                .read("webhooks", Value::path)
                .unwrap_or_else(|| relative("webhooks.yaml")),
            api: table.read("api", |value| Api::read(value, &site)).unwrap_or_default(),
            limits: table.read("limits", Limits::read).unwrap_or_default(),
            drain: duration("drain", Duration::from_secs(20)),
            on_store_failure,
            payloads_allow_http,
            encrypt_payloads: table.read_or("encrypt_payloads", false, Value::switch),
            legacy_algorithms: table.read_or("legacy_algorithms", false, Value::switch),
            mdn_deadline: duration("mdn_deadline", 24 * HOUR),
            duplicate_window: duration("duplicate_window", 7 * 24 * HOUR),
            retention: table.read("retention", Retention::read).unwrap_or_default(),
            fixed: Fixed::of(
                table,
                &listen,
                &store,
                (&payloads, payloads_allow_http),
                &secret_key_file,
                on_store_failure,
            ),
            keyring: Arc::new(keyring(&stations, &partners)),
            by_as2_id: partners.iter().enumerate().map(|(i, p)| (p.as2_id.clone(), i)).collect(),
            station_ids: stations.iter().map(|station| station.as2_id.clone()).collect(),
            receiver: receiver?,
            site,
            listen,
            store,
            payloads,
            stations,
            partners,
            secret_key_file,
        };
        judge_loop(table, &config);
        judge_serial_numbers(table, &config.stations);
        Some(config)
    }
}

/// The gateway's site, which rules, partners and tokens are of unless they say otherwise.
pub(super) fn read_site(table: &Table<'_>) -> String {
    table.read("site", site).unwrap_or_else(|| "main".to_owned())
}

fn read_stations(value: &Value<'_>) -> Option<Vec<Station>> {
    let mut stations = Vec::new();
    let mut seen = HashSet::new();
    for item in value.list()? {
        let Some(station) = Station::read(&item) else { continue };
        if seen.insert(station.as2_id.clone()) {
            stations.push(station);
        } else {
            item.wrong::<()>(format!("the station {:?} is given twice", station.as2_id));
        }
    }
    Some(stations)
}

fn read_partners(value: &Value<'_>, site: &str) -> Option<Vec<Partner>> {
    let mut partners = Vec::new();
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for item in value.list()? {
        let Some(partner) = Partner::read(&item, site) else { continue };
        if !names.insert(partner.as2_id.clone()) {
            item.wrong::<()>(format!("the partner {:?} is given twice", partner.as2_id));
            continue;
        }
        if let Some(id) = partner.id.filter(|id| !ids.insert(*id)) {
            item.wrong::<()>(format!("another partner has the id {id} already"));
            continue;
        }
        partners.push(partner);
    }
    Some(partners)
}

/// What a station signs with is known too: its own messages are looked at on their way out.
fn keyring(stations: &[Station], partners: &[Partner]) -> Keyring {
    let mut keyring = Keyring::new();
    for station in stations {
        for key in &station.keys {
            keyring.add_key(key.clone());
            keyring.add_certificate(&station.as2_id, key.certificate.clone());
        }
    }
    for partner in partners {
        for certificate in &partner.certificates {
            keyring.add_certificate(&partner.as2_id, certificate.clone());
        }
    }
    keyring
}

fn judge_outbound(table: &Table<'_>, outbound: SocketAddr, partners: &[Partner]) {
    let Some(place) = table.get("partners") else { return };
    for partner in partners.iter().filter(|partner| partner.url.is_none()) {
        let id = &partner.as2_id;
        place.warn(format!("{id:?} has no url: what the listener at {outbound} gets for it fails"));
    }
}

/// A message names a key by issuer and serial number, which a certificate authority gives once.
fn judge_serial_numbers(table: &Table<'_>, stations: &[Station]) {
    let Some(place) = table.get("stations") else { return };
    let keys: Vec<_> = stations.iter().flat_map(|station| &station.keys).collect();
    for (at, key) in keys.iter().enumerate() {
        let is_same = |other: &&StationKey| {
            let (own, other) = (&key.certificate, &other.certificate);
            let is_named_alike = own.serial_number() == other.serial_number()
                && own.issuer_name().try_cmp(other.issuer_name()).is_ok_and(Ordering::is_eq);
            is_named_alike && own != other
        };
        if keys[..at].iter().copied().any(|other| is_same(&other)) {
            place.warn(format!(
                "two keys have certificates of one issuer and serial number ({}): each is tried for what \
                 is sent to either; have one of them issued anew",
                keys::named(&key.certificate)
            ));
        }
    }
}

/// A receiver that is the gateway itself would send each request round until all is used up.
fn judge_loop(table: &Table<'_>, config: &Config) {
    let Some(place) = table.get("receiver") else { return };
    for origin in config.receiver.all_origins() {
        let host = if origin.host == "localhost" { "127.0.0.1" } else { &origin.host };
        let Ok(host) = host.parse::<IpAddr>() else { continue };
        for (name, listen) in config.listen.addresses() {
            let local = listen.ip() == host || (listen.ip().is_unspecified() && host.is_loopback());
            if local && listen.port() == origin.port {
                place.wrong::<()>(format!("{origin} is this gateway itself (listen.{name})"));
            }
        }
    }
}
