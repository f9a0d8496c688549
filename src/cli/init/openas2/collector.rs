//! Takes over one thing after the other: the keystore, stations, the receiver, partners.

use std::collections::BTreeSet;

use http::Uri;

use super::{
    keystore::Keystore,
    partnerships::{Partnership, TradingParty},
    pem_files::PemFiles,
    server::{Component, Server},
    takeover::{TakenPartner, TakenReceiver, TakenStation},
};

/// What was read, and what has come of it so far.
pub(super) struct Collector<'a> {
    pub(super) server: Server,
    pub(super) partnerships: &'a [Partnership],
    own: &'a BTreeSet<String>,
    keystore: Option<Keystore>,
    pub(super) files: PemFiles,
    pub(super) todos: Vec<String>,
}

/// What a partner's response may wait for in the gateway, unless its `timeout` says otherwise, in seconds.
const DEFAULT_TIMEOUT: u64 = 300;

// === impl Collector ===

impl<'a> Collector<'a> {
    pub(super) fn new(
        server: Server,
        partnerships: &'a [Partnership],
        own: &'a BTreeSet<String>,
    ) -> Self {
        let (files, todos) = (PemFiles::default(), Vec::new());
        Self { server, partnerships, own, keystore: None, files, todos }
    }

    pub(super) fn property(&mut self, name: &str) -> Option<String> {
        self.server.properties.get(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn todo(&mut self, what: impl Into<String>) {
        self.todos.push(what.into());
    }

    pub(super) fn open_keystore(&mut self, password: Option<String>) {
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

    pub(super) fn station(&mut self, as2_id: &str) -> TakenStation {
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

    pub(super) fn receiver(&mut self) -> TakenReceiver {
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
        let others = messages.iter().skip(1).chain(mdns.iter().skip(1)).map(url);
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

    pub(super) fn partners(&mut self) -> Vec<TakenPartner> {
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

    pub(super) fn is_own(&self, party: &TradingParty) -> bool {
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

pub(super) fn is_loopback(host: &str) -> bool {
    matches!(host.trim().trim_matches(['[', ']']), "localhost" | "::1")
        || host.trim().starts_with("127.")
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
}
