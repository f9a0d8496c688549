//! `as2hook.yaml`: everything but the rules. `conf/as2hook.yaml` explains each key.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use as2hook_as2::{Keyring, StationKey};
use as2hook_event::{KeptAttachments, SecretString};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api, ConfigDiagnostic, Limits, Listen, Partner, PayloadLocation, Receiver, Retention, Station,
    StoreLocation,
    diagnostic::Position,
    keys,
    listen::{Listener, is_sound},
    section::{Section, defaults},
    setting::{FilePath, Identifier, List, Setting, Switch, Table, Time, Whole, Word, seconds},
    storage::{PayloadsSetting, StoreSetting},
    value::Value,
};

/// The gateway's config, complete and judged: what is in here holds.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "as2hook.yaml")]
pub struct Config {
    /// The file it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// The tenant that this gateway serves. Partners, rules and tokens are of it unless they say otherwise.
    #[serde(with = "Identifier", default = "main_site")]
    pub site: String,
    /// Where the gateway is called.
    #[serde(with = "Table::<Listen>", default = "defaults")]
    pub listen: Listen,
    /// The AS2 server behind it.
    #[serde(with = "Table::<Receiver>")]
    pub receiver: Receiver,
    /// Where events and deliveries are kept: `sqlite:FILE`, or `postgres://…` for several gateways.
    #[serde(with = "StoreSetting", default)]
    pub store: StoreLocation,
    /// Where raw payloads wait for their deliveries: a folder, `store` (in PostgreSQL), or
    /// `s3://bucket/path`.
    #[serde(with = "PayloadsSetting", default)]
    pub payloads: PayloadLocation,
    /// Whether payloads may go to S3 over plain `http://`.
    #[serde(with = "Switch", default)]
    pub payloads_allow_http: bool,
    /// Whether payloads are sealed where they lie, with a key made of `secret_key_file`'s.
    #[serde(with = "Switch", default)]
    pub encrypt_payloads: bool,
    /// The rules' file, or a folder of `*.yaml`.
    #[serde(with = "FilePath", default = "rules_file")]
    pub webhooks: PathBuf,
    /// Which attachments are kept for download, where a rule does not say it: needed (those that deliveries
    /// need) or all.
    #[serde(with = "Word::<KeptAttachments>", default)]
    pub keep: KeptAttachments,
    /// Our own AS2 identities.
    #[serde(with = "List::<Table<Station>>", default)]
    pub stations: Vec<Station>,
    /// Remote AS2 identities.
    #[serde(with = "List::<Table<Partner>>", default)]
    pub partners: Vec<Partner>,
    /// All keys and certificates of stations and partners, as the decoder takes them.
    #[serde(skip)]
    pub keyring: Arc<Keyring>,
    /// Who may ask.
    #[serde(with = "Table::<Api>", default)]
    pub api: Api,
    /// Bounds of what messages may use.
    #[serde(with = "Table::<Limits>", default)]
    pub limits: Limits,
    /// How long exchanges in flight may take to finish after SIGTERM.
    #[serde(with = "Time", default = "seconds::<20>")]
    pub drain: Duration,
    /// What becomes of traffic when an event cannot be stored.
    #[serde(with = "Word::<StoreFailurePolicy>", default)]
    pub on_store_failure: StoreFailurePolicy,
    /// Whether DES, RC2-40 and RC2-128 are decoded too.
    #[serde(with = "Switch", default)]
    pub legacy_algorithms: bool,
    /// When an asynchronous MDN that did not come is overdue.
    #[serde(with = "Time", default = "seconds::<86_400>")]
    pub mdn_deadline: Duration,
    /// How long a message is remembered, to notice that it came again.
    #[serde(with = "Time", default = "seconds::<{ 7 * 86_400 }>")]
    pub duplicate_window: Duration,
    /// How long reported events are kept, and how many.
    #[serde(with = "Table::<Retention>", default = "defaults")]
    pub retention: Retention,
    /// Encrypts secrets at rest; made on first run.
    #[serde(with = "FilePath", default = "secret_key_file")]
    pub secret_key_file: PathBuf,
    #[serde(skip)]
    fixed: Fixed,
    #[serde(skip)]
    by_as2_id: HashMap<String, usize>,
    #[serde(skip)]
    station_ids: HashSet<String>,
}

/// Each such setting: its path, where it or what should hold it stands, and its value for comparison. The
/// store's URL may hold a password.
#[derive(Debug, Default)]
struct Fixed(Vec<(&'static str, Position, SecretString)>);

/// What becomes of traffic when an event cannot be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreFailurePolicy {
    /// It goes on; events are held in bounded memory.
    #[default]
    Pass,
    /// It gets a 503, so that the partner sends again.
    Refuse,
}

/// The site where none is named.
pub(super) fn main_site() -> String {
    "main".to_owned()
}

fn rules_file() -> PathBuf {
    "webhooks.yaml".into()
}

fn secret_key_file() -> PathBuf {
    "data/secret.key".into()
}

// === impl Config ===

impl Config {
    /// How a message is decoded under this config.
    pub fn decode_options(&self) -> as2hook_as2::Options {
        as2hook_as2::Options {
            limits: self.limits.decode(),
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
        let no_s3 = matches!(self.payloads, PayloadLocation::S3(_)) && !cfg!(feature = "s3");
        let unsupported = [
            (
                no_s3,
                "payloads",
                "S3 is not built in: build as2hook with `cargo build --release --features s3`, or name a \
                 folder",
            ),
            (
                self.listen.admin.tls.is_some(),
                "listen.admin",
                "TLS is not built in here yet; leave tls out, and the address on loopback",
            ),
        ];
        let wanted = unsupported.iter().filter(|(is_wanted, ..)| *is_wanted);
        wanted.filter_map(|(_, path, what)| self.fixed.mistake(path, what, &self.file)).collect()
    }

    /// What `new` changes although it cannot change while the gateway runs, at its places in the
    /// new file. With any, `new` must not be taken.
    pub fn fixed_differences(&self, new: &Self) -> Vec<ConfigDiagnostic> {
        self.fixed.differences(&new.fixed, &new.file)
    }
}

impl Section for Config {
    fn judge(&mut self, table: &Value) -> Option<()> {
        table.here("").file.clone_into(&mut self.file);
        let is_store_sound = table.get("store").is_none_or(|store| store.is_sound());
        if let Some(place) = table.get("payloads").filter(|_| is_store_sound) {
            self.payloads.judge(&place, &self.store, self.payloads_allow_http);
        }
        if let StoreLocation::Sqlite(path) = &mut self.store {
            *path = table.resolve(&*path);
        }
        if let PayloadLocation::Folder(path) = &mut self.payloads {
            *path = table.resolve(&*path);
        }
        self.webhooks = table.resolve(&self.webhooks);
        self.secret_key_file = table.resolve(&self.secret_key_file);
        let partners = self.partners.iter_mut().map(|partner| &mut partner.site);
        let tokens = self.api.tokens.iter_mut().map(|token| &mut token.site);
        for site in partners.chain(tokens).filter(|site| site.is_empty()) {
            site.clone_from(&self.site);
        }
        judge_names(table);
        self.judge_outbound(table);
        self.judge_loop(table);
        self.judge_serial_numbers(table);
        self.keyring = Arc::new(keyring(&self.stations, &self.partners));
        let partners = self.partners.iter().enumerate();
        self.by_as2_id = partners.map(|(at, partner)| (partner.as2_id.clone(), at)).collect();
        self.station_ids = self.stations.iter().map(|station| station.as2_id.clone()).collect();
        self.fixed = Fixed::of(table, self);
        Some(())
    }
}

impl Config {
    fn judge_outbound(&self, table: &Value) {
        let (Some(outbound), Some(place)) = (&self.listen.outbound, table.get("partners")) else {
            return;
        };
        for partner in self.partners.iter().filter(|partner| partner.url.is_none()) {
            let (id, listener) = (&partner.as2_id, outbound.address);
            place.warn(format!(
                "{id:?} has no url: what the listener at {listener} gets for it fails"
            ));
        }
    }

    /// A message names a key by issuer and serial number, which a certificate authority gives once.
    fn judge_serial_numbers(&self, table: &Value) {
        let Some(place) = table.get("stations") else { return };
        let keys: Vec<_> = self.stations.iter().flat_map(|station| &station.keys).collect();
        for (at, key) in keys.iter().enumerate() {
            let is_same = |other: &&StationKey| {
                let (own, other) = (&key.certificate, &other.certificate);
                let is_named_alike = own.serial_number() == other.serial_number()
                    && own.issuer_name().try_cmp(other.issuer_name()).is_ok_and(Ordering::is_eq);
                is_named_alike && own != other
            };
            if keys[..at].iter().copied().any(|other| is_same(&other)) {
                place.warn(format!(
                    "two keys have certificates of one issuer and serial number ({}): each is tried for \
                     what is sent to either; have one of them issued anew",
                    keys::named(&key.certificate)
                ));
            }
        }
    }

    /// A receiver that is the gateway itself would send each request round until all is used up.
    fn judge_loop(&self, table: &Value) {
        let Some(place) = table.get("receiver") else { return };
        let is_sound = |name| table.get("listen").is_none_or(|listen| is_sound(&listen, name));
        for origin in self.receiver.all_origins() {
            let host = if origin.host == "localhost" { "127.0.0.1" } else { &origin.host };
            let Ok(host) = host.parse::<IpAddr>() else { continue };
            for (name, listen) in self.listen.addresses().filter(|(name, _)| is_sound(name)) {
                let local =
                    listen.ip() == host || (listen.ip().is_unspecified() && host.is_loopback());
                if local && listen.port() == origin.port {
                    place.wrong::<()>(format!("{origin} is this gateway itself (listen.{name})"));
                }
            }
        }
    }
}

// === impl Fixed ===

impl Fixed {
    fn of(root: &Value, config: &Config) -> Self {
        let listener = |listener: Option<&Listener>| match listener {
            None => "does not run".to_owned(),
            Some(l) if l.tls.is_some() => format!("{} with TLS", l.address),
            Some(l) => l.address.to_string(),
        };
        let store = match &config.store {
            StoreLocation::Postgres(url) => url.expose().to_owned(),
            sqlite @ StoreLocation::Sqlite(_) => sqlite.to_string(),
        };
        let settings = [
            ("listen.inbound", listener(Some(&config.listen.inbound))),
            ("listen.outbound", listener(config.listen.outbound.as_ref())),
            ("listen.admin", listener(Some(&config.listen.admin))),
            ("store", store),
            ("payloads", config.payloads.to_string()),
            ("payloads_allow_http", config.payloads_allow_http.to_string()),
            ("secret_key_file", config.secret_key_file.display().to_string()),
            ("on_store_failure", format!("{:?}", config.on_store_failure)),
        ];
        // Of what is not there, the place of what should hold it.
        let place = |path: &str| {
            let found = path.split('.').scan(root.clone(), |value, key| {
                *value = value.get(key)?;
                Some(value.at())
            });
            found.last().unwrap_or(Position::START)
        };
        Self(settings.map(|(path, value)| (path, place(path), SecretString::from(value))).into())
    }

    /// Says something about one of these settings at its place.
    fn mistake(&self, path: &str, what: &str, file: &Path) -> Option<ConfigDiagnostic> {
        let (path, at, _) = self.0.iter().find(|(other, ..)| *other == path)?;
        Some(ConfigDiagnostic::new(file, *at, path, what))
    }

    fn differences(&self, new: &Self, file: &Path) -> Vec<ConfigDiagnostic> {
        const REFUSED: &str = "cannot change while the gateway runs; restart it, or put back what \
                               stood here";
        let pairs = self.0.iter().zip(&new.0).filter(|((.., old), (.., new))| old != new);
        pairs.map(|(_, (path, at, _))| ConfigDiagnostic::new(file, *at, path, REFUSED)).collect()
    }
}

fn judge_names(table: &Value) {
    let as2_id = |item: &Value| Identifier::read(&item.get("as2_id")?);
    if let Some(stations) = table.get("stations") {
        stations.judge_unique(as2_id, |id| format!("the station {id:?} is given twice"));
    }
    if let Some(partners) = table.get("partners") {
        partners.judge_unique(as2_id, |id| format!("the partner {id:?} is given twice"));
        let id =
            |item: &Value| Whole::<u64, 1, { i64::MAX.cast_unsigned() }>::read(&item.get("id")?);
        partners.judge_unique(id, |id| format!("another partner has the id {id} already"));
    }
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
