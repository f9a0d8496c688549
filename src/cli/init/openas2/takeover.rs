//! What the gateway's config gets of an OpenAS2.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use http::Uri;
use openssl::x509::X509;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    keystore::{Keystore, KeystoreIdentity},
    partnerships::{Partnership, Partnerships, Party},
    server::{Component, Server},
};
use crate::cli::init::NewFiles;

/// The gateway in front of an OpenAS2, and what is left to do.
pub(in crate::cli::init) struct Takeover {
    pub(super) source: PathBuf,
    pub(super) ports: GatewayPorts,
    pub(super) receiver: TakenReceiver,
    pub(super) stations: Vec<TakenStation>,
    pub(super) partners: Vec<TakenPartner>,
    /// How long OpenAS2 waits for an MDN, in seconds.
    pub(super) mdn_wait: Option<u64>,
    /// What a person has to do in the config, and why.
    pub(super) todos: Vec<String>,
    /// What has to change in OpenAS2.
    pub(super) edits: Vec<String>,
    /// What is OpenAS2's as before, and why.
    pub(super) stays: Vec<String>,
    keys: Vec<(String, Vec<u8>)>,
}

/// The gateway's own ports, none of them OpenAS2's.
pub(super) struct GatewayPorts {
    pub(super) inbound: u16,
    pub(super) outbound: Option<u16>,
    pub(super) admin: u16,
}

/// Where the gateway passes messages and MDNs on.
pub(super) struct TakenReceiver {
    pub(super) url: String,
    pub(super) is_https: bool,
    pub(super) mdn_url: Option<String>,
    /// The port and the PEM file of its https.
    pub(super) tls: Option<(u16, String)>,
}

/// One of our identities.
pub(super) struct TakenStation {
    pub(super) as2_id: String,
    /// Files with a key and its certificate.
    pub(super) keys: Vec<String>,
    pub(super) todos: Vec<String>,
}

/// A remote identity.
pub(super) struct TakenPartner {
    pub(super) as2_id: String,
    pub(super) certificates: Vec<String>,
    /// Whether OpenAS2 sends to it.
    pub(super) is_sent_to: bool,
    pub(super) url: Option<String>,
    /// In seconds.
    pub(super) timeout: Option<u64>,
    /// The PEM file of what we show its https.
    pub(super) client: Option<String>,
    pub(super) todos: Vec<String>,
}

/// The path of the gateway for asynchronous MDNs.
pub(super) const MDN_PATH: &str = "/mdn";
/// What a partner's response may wait for in the gateway, unless its `timeout` says otherwise, in seconds.
const DEFAULT_TIMEOUT: u64 = 300;

/// What a segment of a path shows as it is (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Takes over one thing after the other.
struct Collector<'a> {
    server: Server,
    partnerships: &'a [Partnership],
    own: &'a BTreeSet<String>,
    keystore: Option<Keystore>,
    /// Keystores of client certificates, by path.
    files: PemFiles,
    todos: Vec<String>,
}

/// PEM files of certificates and keys: one for each alias.
#[derive(Default)]
struct PemFiles {
    files: Vec<(String, Vec<u8>)>,
    names: BTreeMap<String, String>,
}

// === impl Takeover ===

impl Takeover {
    pub(super) fn of(
        source: &Path,
        server: Server,
        partnerships: Partnerships,
        own: &BTreeSet<String>,
        password: Option<String>,
    ) -> Self {
        let ports = GatewayPorts::beside(&server, &partnerships.all);
        let todos = partnerships
            .unread
            .iter()
            .map(|what| format!("{what}: it is not taken over."))
            .collect();
        let mut collector = Collector {
            server,
            partnerships: &partnerships.all,
            own,
            keystore: None,
            files: PemFiles::default(),
            todos,
        };
        collector.open_keystore(password);
        collector.note_what_is_not_read();
        let stations = own.iter().map(|id| collector.station(id)).collect();
        let receiver = collector.receiver();
        let partners = collector.partners();
        let edits = collector.edits(&ports, receiver.mdn_url.is_some());
        let stays = collector.stays(&ports);
        let mdn_wait = collector.property("as2_mdn_response_max_wait_seconds");
        let undefined = collector.server.properties.undefined().map(|reference| {
            format!("{reference} is defined nowhere: pass its file to `as2hook init` with --properties, or set the variable.")
        });
        collector.todos.extend(undefined.collect::<Vec<_>>());
        Self {
            source: source.to_owned(),
            ports,
            receiver,
            stations,
            partners,
            mdn_wait: mdn_wait
                .and_then(|seconds| seconds.trim().parse().ok())
                .filter(|wait| *wait > 0),
            todos: collector.todos,
            edits,
            stays,
            keys: collector.files.files,
        }
    }

    pub(in crate::cli::init) fn edits(&self) -> Vec<String> {
        self.edits.clone()
    }

    pub(in crate::cli::init) fn add_keys(self, files: &mut NewFiles<'_>) {
        self.keys.into_iter().for_each(|(name, pem)| files.add(&name, pem));
    }
}

// === impl GatewayPorts ===

impl GatewayPorts {
    fn beside(server: &Server, partnerships: &[Partnership]) -> Self {
        let taken = server.ports();
        let free = |first: u16| {
            let mut ports = (0..10).map(|n| first + 100 * n);
            ports.find(|port| !taken.contains(port)).unwrap_or(first)
        };
        let has_outbound = partnerships.iter().any(|it| it.url().is_some());
        Self { inbound: free(8080), outbound: has_outbound.then(|| free(8085)), admin: free(8081) }
    }

    /// What stands in OpenAS2 instead of a partner's URL.
    pub(super) fn outbound_url(&self, as2_id: &str) -> Option<String> {
        let port = self.outbound?;
        Some(format!("http://127.0.0.1:{port}/out/{}", utf8_percent_encode(as2_id, SEGMENT)))
    }
}

// === impl Collector ===

impl Collector<'_> {
    fn property(&mut self, name: &str) -> Option<String> {
        self.server.properties.get(name).filter(|value| !value.trim().is_empty())
    }

    fn todo(&mut self, what: impl Into<String>) {
        self.todos.push(what.into());
    }

    fn open_keystore(&mut self, password: Option<String>) {
        let is_main = |it: &&Component| it.get("identifier").is_none_or(|name| name == "as2_certs");
        let factory = self.server.of_element("certificates").find(is_main);
        let Some(file) = factory.and_then(|it| it.get("filename")) else {
            return self.todo("config.xml names no keystore: keys and certificates are left out.");
        };
        let path = self.server.path(file);
        let Some(password) = password.or_else(|| Some(factory?.get("password")?.to_owned())) else {
            return self.todo(format!(
                "The password of {} stands in no file (it is given by -Dorg.openas2.cert.Password), so keys and \
                 certificates are left out: run `as2hook init` again with --keystore-password-file.",
                path.display()
            ));
        };
        match Keystore::open(&path, &password) {
            Ok(keystore) => self.keystore = Some(keystore),
            Err(error) => self.todo(format!("{error}: keys and certificates are left out.")),
        }
    }

    fn note_what_is_not_read(&mut self) {
        if self.server.of_class("DbPartnershipFactory").next().is_some() {
            self.todo(
                "OpenAS2 has its partnerships in a database, which is not read: write stations and partners by \
                 hand, from its tables `partner` and `partnership`.",
            );
        } else if self.partnerships.is_empty() {
            self.todo("OpenAS2 has no partnership that can be taken over: write stations and partners by hand.");
        }
        let trust = self.server.of_element("certificates");
        let trust = trust.filter(|it| it.get("identifier") == Some("ssl_trust_certs"));
        let trust: Vec<_> =
            trust.filter_map(|it| Some(self.server.path(it.get("filename")?))).collect();
        for path in trust {
            self.todo(format!(
                "OpenAS2 trusts the certificates in {} for https. Which partner each is of does not stand there: where \
                 a partner's certificate is not of a public authority, export it and name it as the partner's \
                 `tls: {{ certificate: ... }}` or `tls: {{ ca: ... }}`.",
                path.display()
            ));
        }
        let properties = ["http.proxyHost", "https.proxyHost"];
        if properties.iter().any(|name| self.property(name).is_some()) {
            self.todo(
                "OpenAS2 reaches partners through an HTTP proxy, which the gateway does not use: let the gateway reach \
                 them directly, and exempt 127.0.0.1 in http.nonProxyHosts.",
            );
        }
    }

    fn station(&mut self, as2_id: &str) -> TakenStation {
        let (mut keys, mut todos) = (Vec::new(), Vec::new());
        for alias in self.aliases(as2_id) {
            let Some(keystore) = &mut self.keystore else { continue };
            match keystore.identity(&alias) {
                Ok(Some(identity)) => keys.push(self.files.identity(&alias, &identity)),
                Ok(None) => todos.push(format!(
                    "the keystore has no private key of alias {alias:?}: what is encrypted for it is not decoded."
                )),
                Err(error) => todos.push(format!("the key of alias {alias:?}: {error}.")),
            }
        }
        if keys.is_empty() && todos.is_empty() {
            todos.push("its keys, such as `keys: [{ certificate: keys/we.crt, private_key: keys/we.key }]`.".to_owned());
        }
        TakenStation { as2_id: as2_id.to_owned(), keys, todos }
    }

    /// The aliases of all partnerships of an id, each once.
    fn aliases(&self, as2_id: &str) -> Vec<String> {
        let parties = self.partnerships.iter().flat_map(|it| [&it.sender, &it.receiver]);
        let mut found: Vec<String> = Vec::new();
        for alias in parties.filter(|party| party.as2_id == as2_id).flat_map(|party| &party.aliases)
        {
            if !found.iter().any(|other| other.to_lowercase() == alias.to_lowercase()) {
                found.push(alias.clone());
            }
        }
        found
    }

    fn receiver(&mut self) -> TakenReceiver {
        let modules = |class| {
            let modules = self
                .server
                .of_class(class)
                .filter_map(|it| Some((it.port()?, it.is_https(), local(it))));
            let mut modules: Vec<_> = modules.collect();
            modules.sort_by_key(|(_, is_https, _)| *is_https);
            modules
        };
        let url = |(port, is_https, host): &(u16, bool, String)| {
            format!("{}://{host}:{port}", if *is_https { "https" } else { "http" })
        };
        let (messages, mdns) = (modules("AS2ReceiverModule"), modules("AS2MDNReceiverModule"));
        let mut todos = Vec::new();
        let taken = match messages.first() {
            Some(module) => url(module),
            None => {
                todos.push("config.xml has no AS2ReceiverModule with a port: put its URL into `receiver.url`.".to_owned());
                "http://127.0.0.1:10080".to_owned()
            }
        };
        let others = messages.iter().skip(1).chain(mdns.iter().skip(1)).map(|module| url(module));
        let others: Vec<_> = others.collect();
        if !others.is_empty() {
            todos.push(format!(
                "OpenAS2 listens on {} too. What comes there passes the gateway by: turn that module off once partners use \
                 the gateway.",
                others.join(", ")
            ));
        }
        self.todos.extend(todos);
        TakenReceiver {
            is_https: messages.first().is_some_and(|(_, is_https, _)| *is_https),
            url: taken,
            mdn_url: mdns.first().map(url),
            tls: self.tls(),
        }
    }

    /// The certificate of its https, for the gateway to take the place.
    fn tls(&mut self) -> Option<(u16, String)> {
        let modules = self.server.of_class("AS2ReceiverModule");
        let module = modules.into_iter().find(|it| it.is_https())?;
        let port = module.port()?;
        let path = self.server.path(module.get("ssl_keystore")?);
        let Some(password) = module.get("ssl_keystore_password").map(str::to_owned) else {
            self.todo(format!(
                "The password of {} stands in no file (-Dorg.openas2.ssl.Password), so its certificate is left out.",
                path.display()
            ));
            return None;
        };
        let opened = Keystore::open(&path, &password);
        match opened.and_then(|mut keystore| keystore.first_identity()) {
            Ok(Some(identity)) => Some((port, self.files.chain(&format!("tls-{port}"), &identity))),
            Ok(None) => None,
            Err(error) => {
                self.todo(format!("The certificate of port {port}: {error}."));
                None
            }
        }
    }

    fn partners(&mut self) -> Vec<TakenPartner> {
        let mut ids: Vec<&str> = Vec::new();
        for it in self.partnerships {
            let remote = match (self.is_own(&it.sender), self.is_own(&it.receiver)) {
                (true, false) => &it.receiver,
                (false, true) => &it.sender,
                (true, true) => {
                    self.todos.push(format!(
                        "the partnership {:?} is between two stations: its receiver stands here as a station alone.",
                        it.name
                    ));
                    continue;
                }
                (false, false) => {
                    self.todos.push(format!(
                        "the partnership {:?} has no station on either side: it is not taken over.",
                        it.name
                    ));
                    continue;
                }
            };
            if !ids.contains(&remote.as2_id.as_str()) {
                ids.push(&remote.as2_id);
            }
        }
        ids.into_iter().map(|id| self.partner(id)).collect()
    }

    fn is_own(&self, party: &Party) -> bool {
        self.own.contains(&party.as2_id)
    }

    fn partner(&mut self, as2_id: &str) -> TakenPartner {
        let mut todos = Vec::new();
        let mut certificates = Vec::new();
        for alias in self.aliases(as2_id) {
            let Some(keystore) = &self.keystore else { continue };
            match keystore.certificate(&alias) {
                Some(certificate) => certificates.push(self.files.certificate(&alias, certificate)),
                None => todos.push(format!("the keystore has no certificate of alias {alias:?}.")),
            }
        }
        let sent = self
            .partnerships
            .iter()
            .filter(|it| it.receiver.as2_id == as2_id && self.is_own(&it.sender));
        let sent: Vec<_> = sent.collect();
        let mut urls: Vec<&str> = Vec::new();
        for url in sent.iter().filter_map(|it| it.url()).map(str::trim) {
            match objection(url) {
                Some(what) => todos.push(format!("its `url`: the as2_url of OpenAS2 {what}.")),
                None if urls.contains(&url) => {}
                None => urls.push(url),
            }
        }
        if let [_, others @ ..] = urls.as_slice()
            && !others.is_empty()
        {
            todos.push(format!(
                "other partnerships send to {}; a partner has one `url` here.",
                others.join(", ")
            ));
        }
        let url = urls.first().map(|url| (*url).to_owned());
        let client = match url.as_deref().is_some_and(|url| url.starts_with("https:")) {
            true => self.client(&sent, &mut todos),
            false => None,
        };
        let senders = self.server.of_class("AS2SenderModule");
        let read_timeout =
            senders.filter_map(|it| it.get("readtimeout")?.trim().parse::<u64>().ok()).max();
        // A shorter one of OpenAS2 ends the exchange by itself.
        let timeout = read_timeout
            .map(|ms| ms.div_ceil(1000))
            .filter(|seconds| url.is_some() && *seconds > DEFAULT_TIMEOUT);
        let is_sent_to = sent.iter().any(|it| it.url().is_some());
        let as2_id = as2_id.to_owned();
        TakenPartner { as2_id, certificates, is_sent_to, url, timeout, client, todos }
    }

    /// What OpenAS2 shows a partner's https, where it has a certificate for it.
    fn client(&mut self, sent: &[&Partnership], todos: &mut Vec<String>) -> Option<String> {
        let mut value = |name: &str| {
            let own = sent.iter().find_map(|it| it.get(name)).map(str::to_owned);
            own.or_else(|| self.property(name))
        };
        let path = value("https_client_keystore")?;
        let (password, alias) =
            (value("https_client_keystore_password"), value("https_client_cert_alias"));
        let path = self.server.path(&path);
        let opened = Keystore::open(&path, password.as_deref().unwrap_or_default());
        let identity = opened.and_then(|mut keystore| match &alias {
            Some(alias) => keystore.identity(alias),
            None => keystore.first_identity(),
        });
        match identity {
            Ok(Some(identity)) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let name = format!("client-{stem}-{}", alias.unwrap_or_default());
                Some(self.files.chain(&name, &identity))
            }
            Ok(None) => {
                todos.push(format!("{} has no private key for its https.", path.display()));
                None
            }
            Err(error) => {
                todos.push(format!("what we show its https: {error}."));
                None
            }
        }
    }

    fn edits(&mut self, ports: &GatewayPorts, has_mdn_route: bool) -> Vec<String> {
        let mut edits = Vec::new();
        let modules = ["AS2ReceiverModule", "AS2MDNReceiverModule"].into_iter();
        let open: Vec<_> = modules
            .flat_map(|class| self.server.of_class(class))
            .filter(|it| it.get("address").is_none_or(|address| !is_loopback(address)))
            .filter_map(|it| Some(it.port()?.to_string()))
            .collect();
        if !open.is_empty() {
            edits.push(format!(
                "config.xml, the modules of port {}: address=\"127.0.0.1\", so that all traffic passes the gateway.",
                open.join(", ")
            ));
        }
        let receipts = format!("http://<this host>:{}{MDN_PATH}", ports.inbound);
        for it in self.partnerships.iter().filter(|it| it.url().is_some()) {
            // Of a receiver that is a station, too, there is nothing behind /out/.
            if self.is_own(&it.receiver) {
                continue;
            }
            let url = ports.outbound_url(&it.receiver.as2_id).unwrap_or_default();
            edits.push(format!("partnerships.xml, partnership {:?}: as2_url is {url}", it.name));
            if it.get("as2_receipt_option").is_some() && has_mdn_route {
                edits.push(format!(
                    "partnerships.xml, partnership {:?}: as2_receipt_option is {receipts}",
                    it.name
                ));
            }
        }
        if self.property("as2_async_mdn_url").is_some() && has_mdn_route {
            edits.push(format!("the property as2_async_mdn_url is {receipts}"));
        }
        edits
    }

    fn stays(&mut self, ports: &GatewayPorts) -> Vec<String> {
        let mut stays = vec![
            "encrypt, sign, compression_type, as2_mdn_options and the like: the gateway reads from each message what \
             it is."
                .to_owned(),
        ];
        let has = |name: &str| {
            self.partnerships
                .iter()
                .flat_map(Partnership::attribute_names)
                .any(|other| other.starts_with(name))
        };
        let has_poller = self.partnerships.iter().any(|it| it.has_poller);
        if has_poller
            || has("store_received_file_to")
            || has("split_")
            || has("custom_mime_headers")
        {
            stays.push("pollers, store_received_file_to, splitting and custom headers: what OpenAS2 does with files.".to_owned());
        }
        if has("resend_") {
            stays.push(
                "resend_...: OpenAS2 sends again by itself. With resend_requires_new_message_id = false the webhooks \
                 show both attempts under one Message-ID."
                    .to_owned(),
            );
        }
        if has("http_user") || has("http_password") {
            stays.push("http_user and http_password: the header passes the gateway.".to_owned());
        }
        let rejects = has("reject_unsigned_messages");
        if rejects || self.property("reject_unsigned_messages").is_some() {
            stays.push(
                "reject_unsigned_messages: a webhook with `signature: [unsigned]` says which messages those are.".to_owned(),
            );
        }
        let used = [
            "AS2ReceiverModule",
            "AS2MDNReceiverModule",
            "AS2SenderModule",
            "XMLPartnershipFactory",
            "PKCS12CertificateFactory",
            "DefaultProcessor",
        ];
        let others = self.server.components.iter().map(Component::class);
        let others: BTreeSet<_> = others.filter(|class| !used.contains(class)).collect();
        if !others.is_empty() {
            let others: Vec<_> = others.into_iter().collect();
            stays.push(format!("{}: they have nothing to do with the gateway.", others.join(", ")));
        }
        if ports.inbound != 8080 {
            stays.push(format!(
                "port 8080, which OpenAS2 listens on: the gateway has {}.",
                ports.inbound
            ));
        }
        stays
    }
}

/// Why a URL cannot be a partner's.
fn objection(url: &str) -> Option<String> {
    let Ok(parsed) = url.parse::<Uri>() else { return Some("is no URL".to_owned()) };
    let Some(authority) =
        parsed.authority().filter(|_| matches!(parsed.scheme_str(), Some("http" | "https")))
    else {
        return Some("is neither http nor https".to_owned());
    };
    if authority.as_str().contains('@') {
        return Some(
            "holds a user or a password; give them in OpenAS2's http_user and http_password"
                .to_owned(),
        );
    }
    if url.contains(['#', '$']) {
        return Some("holds what only OpenAS2 can fill in".to_owned());
    }
    if parsed.path().starts_with("/out/") && is_loopback(authority.host()) {
        return Some("leads to a gateway already; put the partner's own here".to_owned());
    }
    None
}

/// The address of a module as the gateway calls it.
fn local(module: &Component) -> String {
    match module.get("address").map(str::trim) {
        None | Some("" | "0.0.0.0" | "::" | "localhost") => "127.0.0.1".to_owned(),
        Some(address) if address.contains(':') => format!("[{address}]"),
        Some(address) => address.to_owned(),
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host.trim().trim_matches(['[', ']']), "localhost" | "::1")
        || host.trim().starts_with("127.")
}

// === impl PemFiles ===

impl PemFiles {
    fn certificate(&mut self, alias: &str, certificate: &X509) -> String {
        self.add(&format!("{alias} certificate"), alias, "crt", &[pem(certificate)])
    }

    fn identity(&mut self, alias: &str, identity: &KeystoreIdentity) -> String {
        self.add(
            &format!("{alias} key"),
            alias,
            "pem",
            &[key(identity), pem(&identity.certificate)],
        )
    }

    /// As [`Self::identity`], with the certificates that TLS shows besides.
    fn chain(&mut self, name: &str, identity: &KeystoreIdentity) -> String {
        let mut parts = vec![key(identity), pem(&identity.certificate)];
        parts.extend(identity.chain.iter().map(pem));
        self.add(name, name, "pem", &parts)
    }

    /// The file of what is called `identifier`, as `alias` if that name is free.
    fn add(&mut self, identifier: &str, alias: &str, extension: &str, parts: &[Vec<u8>]) -> String {
        let identifier = identifier.to_lowercase();
        if let Some(name) = self.names.get(&identifier) {
            return name.clone();
        }
        let safe =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        let stem: String = alias.to_lowercase().chars().take(100).map(safe).collect();
        let is_taken = |name: &String| self.files.iter().any(|(other, _)| other == name);
        let numbered = (2..).map(|n| format!("keys/{stem}-{n}.{extension}"));
        let mut names = std::iter::once(format!("keys/{stem}.{extension}")).chain(numbered);
        let name = names.find(|name| !is_taken(name)).expect("one of endlessly many names is free");
        self.files.push((name.clone(), parts.concat()));
        self.names.insert(identifier, name.clone());
        name
    }
}

const WRITES: &str = "OpenSSL writes what it has read";

fn pem(certificate: &X509) -> Vec<u8> {
    certificate.to_pem().expect(WRITES)
}

fn key(identity: &KeystoreIdentity) -> Vec<u8> {
    identity.key.private_key_to_pem_pkcs8().expect(WRITES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_cannot_be_a_partners_is_objected_to() {
        assert_eq!(objection("https://acme.example/as2?x=1"), None);
        for (url, what) in [
            ("acme", "neither"),
            ("ftp://acme.example/", "neither"),
            ("http://me:secret@acme.example/", "a user or a password"),
            ("http://acme.example/$partnership.name$", "only OpenAS2"),
            ("http://127.0.0.1:8085/out/ACME", "leads to a gateway already"),
        ] {
            let said = objection(url).unwrap_or_default();
            assert!(said.contains(what) && !said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn hostile_alias_is_a_plain_file_name() {
        let mut files = PemFiles::default();
        let certificate = &as2hook_testing::pki::partner().certificate;
        assert_eq!(files.certificate("../../etc/x y", certificate), "keys/------etc-x-y.crt");
        assert_eq!(files.certificate("..-../etc/x y", certificate), "keys/------etc-x-y-2.crt");
        assert_eq!(files.certificate("../../ETC/x y", certificate), "keys/------etc-x-y.crt");
    }
}
