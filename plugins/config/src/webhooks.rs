//! `webhooks.yaml`: the rules. `conf/webhooks.yaml` explains each key.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use as2hook_as2::SignatureStatus;
use as2hook_event::{
    DocumentType, Endpoint, ErrorFilter, EventKind, Filters, KeptAttachments, Order, PartnerType,
    PassHeaders, PayloadMode, Rate, Route, Rule, RuleSet, Secret, SinkChoice, Tls,
};
use http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::values::{
    Documents, Errors, Events, FormatName, HeaderFields, PassedHeaders, RetryWaits, RuleName,
    SecretOfFile, Secrets, Signatures, Timeout,
};
use super::{
    diagnostic::{ConfigDiagnostic, Position},
    keys::{self, CertificateFile, Certificates, Key, PrivateKeyFile},
    plugins::PluginSink,
    section::Section,
    setting::{
        Identifier, List, Maybe, RateLimit, Setting, Switch, Table, Time, WebhookUrl, Whole, Word,
        number, schema, seconds, yes,
    },
    source::Context,
    value::{FromFile, Value},
};

mod values;
pub(super) mod warnings;

/// A file of rules.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "webhooks.yaml")]
pub(crate) struct RulesFile {
    /// What is delivered, where to, and how.
    // An empty file is more likely half written than meant: `webhooks: []` is how to say none.
    #[serde(with = "List::<Placed>")]
    pub(crate) webhooks: Vec<Placed>,
}

/// A rule, and where it stands.
pub(crate) struct Placed {
    webhook: Webhook,
    place: Value,
    /// One that was read by half would seem to conflict with others.
    is_sound: bool,
}

/// A webhook: of which events, where to, and how.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Webhook {
    /// Unique. It stands in the paths of the admin API, in logs and in metrics.
    #[serde(with = "RuleName")]
    name: String,
    /// The events it gets; `"*"` is all.
    #[serde(with = "Events", default = "values::default_events")]
    events: Option<Vec<EventKind>>,
    /// AS2 id of the remote side. Left out: any.
    #[serde(with = "Maybe::<Identifier>", default)]
    partner: Option<String>,
    /// AS2 id of our side. Left out: any.
    #[serde(with = "Maybe::<Identifier>", default)]
    station: Option<String>,
    /// Production or Test. Left out: any.
    #[serde(with = "Maybe::<Word<PartnerType>>", default)]
    partner_type: Option<PartnerType>,
    /// The types of EDI documents of which one at least is in the message: 850, ORDERS, the root of an XML document;
    /// or with the standard, as in "EDIFACT:ORDERS". Left out: any message.
    #[serde(with = "Maybe::<Documents>", default)]
    document: Option<Vec<DocumentType>>,
    /// The statuses of the signature that it is for. Left out: any.
    #[serde(with = "Maybe::<Signatures>", default)]
    signature: Option<Vec<SignatureStatus>>,
    /// none, any, or the codes of processing errors of which there is one at least. Left out: with and
    /// without errors.
    #[serde(with = "Maybe::<Errors>", default)]
    errors: Option<ErrorFilter>,
    /// The tenant. Default: the gateway's.
    #[serde(with = "Identifier", default, skip_serializing_if = "String::is_empty")]
    site: String,
    /// http or https.
    #[serde(with = "Maybe::<WebhookUrl>", default)]
    url: Option<Uri>,
    /// Instead of `url`: a sink that this program has besides http, and its keys.
    #[serde(with = "Maybe::<PluginSink>", default)]
    sink: Option<SinkChoice>,
    /// What the body contains. headers: nothing; json: what was decoded; raw: the first attachment.
    #[serde(with = "FormatName", default = "values::default_payload")]
    payload: PayloadMode,
    /// Which attachments are kept for download: needed (those that deliveries need) or all. Default: the gateway's.
    #[serde(with = "Maybe::<Word<KeptAttachments>>", default)]
    keep: Option<KeptAttachments>,
    /// Signs deliveries; a list of several during a rotation. `whsec_…` is base64.
    #[serde(with = "Secrets", default, skip_serializing_if = "Vec::is_empty")]
    secret: Vec<Secret>,
    /// The file of the secret.
    #[serde(with = "Maybe::<SecretOfFile>", default)]
    secret_file: Option<FromFile<Secret>>,
    /// Your own headers, such as credentials.
    #[serde(with = "HeaderFields", default)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it fires besides whichever rule is the most specific.
    #[serde(with = "Word::<Route>", default)]
    route: Route,
    /// Trust and identity for https.
    #[serde(with = "Maybe::<Table<WebhookTls>>", default)]
    tls: Option<WebhookTls>,
    /// Which of the original headers go along: all, as2, or these names.
    #[serde(with = "PassedHeaders", default)]
    pass_headers: PassHeaders,
    /// For connect, send and response together; one second more for each MiB of body. At most 1h.
    #[serde(with = "Timeout", default = "seconds::<15>")]
    timeout: Duration,
    /// The waits between attempts; `[]` tries once.
    #[serde(with = "RetryWaits", default = "values::default_retry")]
    retry: Vec<Duration>,
    /// The most attempts at once.
    #[serde(with = "Whole::<usize, 1, 10_000>", default = "number::<16, _>")]
    concurrency: usize,
    /// partner: one at a time, in order, for each (partner, station).
    #[serde(with = "Word::<Order>", default)]
    order: Order,
    /// In an order: what its endpoint refuses is dead so long after its first failure, if the endpoint has
    /// taken another one since.
    #[serde(with = "Maybe::<Time>", default)]
    order_patience: Option<Duration>,
    /// The most attempts in a time, such as 50/s. Left out: no limit.
    #[serde(with = "Maybe::<RateLimit>", default)]
    rate: Option<Rate>,
    /// It is disabled when every attempt failed for this long.
    #[serde(with = "Maybe::<Time>", default)]
    disable_after: Option<Duration>,
    /// false: it matches nothing.
    #[serde(with = "Switch", default = "yes")]
    enabled: bool,
}

/// PEM files for https.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookTls {
    /// Trusted instead of the system's roots.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    ca: CertificateFile,
    /// Our certificate chain.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    client_certificate: CertificateFile,
    /// Its key.
    #[serde(with = "Maybe::<Key>", default)]
    client_key: Option<PrivateKeyFile>,
}

/// What the gateway's config says for rules that do not say it themselves.
#[derive(Clone, Copy)]
pub(super) struct RuleDefaults<'a> {
    pub(super) site: &'a str,
    pub(super) keep: KeptAttachments,
}

/// Reads all rules of a file, or of a folder's `*.yaml` in the order of their names. `Err` says in
/// words why there is nothing to read.
pub(super) fn read(
    context: &Rc<Context>,
    path: &Path,
    defaults: RuleDefaults<'_>,
) -> Result<Vec<Placed>, String> {
    let mut rules = Rules::default();
    if path.is_dir() {
        for file in context.list(path)? {
            // It was there a moment ago: what is wrong with it now is reported at the file itself.
            if let Err(what) = rules.read_file(context, &file, defaults) {
                context.mistake(ConfigDiagnostic::new(&file, Position::START, "document", what));
            }
        }
    } else {
        rules.read_file(context, path, defaults)?;
    }
    Ok(rules.all)
}

/// Compiles them, and returns beside them where each stands. Two that cannot stand beside each other are reported
/// at the second one.
pub(super) fn compile(placed: Vec<Placed>) -> Option<(RuleSet, Vec<Value>)> {
    let rules = placed.into_iter().map(|placed| (placed.webhook.rule(), placed.place));
    let (rules, places): (Vec<_>, Vec<_>) = rules.unzip();
    let conflicts = match RuleSet::compile(rules) {
        Ok(rules) => return Some((rules, places)),
        Err(conflicts) => conflicts,
    };
    for conflict in conflicts {
        let first = places[conflict.first_place].here("");
        let first =
            format!("{:?} stands at {}:{}", conflict.first, first.file.display(), first.line);
        places[conflict.second_place].wrong::<()>(format!("{conflict}; {first}"));
    }
    None
}

#[derive(Default)]
struct Rules {
    all: Vec<Placed>,
    /// Where each name stands.
    names: HashMap<String, (PathBuf, usize)>,
}

// === impl Rules ===

impl Rules {
    fn read_file(
        &mut self,
        context: &Rc<Context>,
        file: &Path,
        defaults: RuleDefaults<'_>,
    ) -> Result<(), String> {
        let Some(root) = context.tree(file)? else { return Ok(()) };
        let root = Value::root(context, file, root);
        let webhooks = root.section::<RulesFile>().map(|rules| rules.webhooks);
        for mut placed in webhooks.unwrap_or_default() {
            if placed.webhook.site.is_empty() {
                defaults.site.clone_into(&mut placed.webhook.site);
            }
            placed.webhook.keep.get_or_insert(defaults.keep);
            let (name, line) = (&placed.webhook.name, placed.place.at().line);
            if let Some((file, line)) = self.names.get(name) {
                let first = format!("{}:{line}", file.display());
                placed.place.wrong::<()>(format!("the name {name:?} is taken already, at {first}"));
                continue;
            }
            self.names.insert(name.clone(), (file.to_owned(), line));
            if placed.is_sound {
                self.all.push(placed);
            }
        }
        Ok(())
    }
}

// === impl RulesFile ===

impl Section for RulesFile {
    const EXAMPLE: &'static str = "{ webhooks: [] }";
}

// === impl Placed ===

impl Setting for Placed {
    type Value = Self;

    fn read(value: &Value) -> Option<Self> {
        let before = value.mistakes();
        value.entries()?;
        if value.get("url").or_else(|| value.get("sink")).is_none() {
            // Reported here, since serde does not know that one of two keys is needed.
            value.wrong::<()>("the key `url` is missing");
        }
        let webhook = value.section::<Webhook>()?;
        let is_sound = value.mistakes() == before;
        Some(Self { webhook, place: value.clone(), is_sound })
    }

    fn shown(placed: &Self) -> impl Serialize {
        &placed.webhook
    }
}

schema!([] Placed, |generator| generator.subschema_for::<Webhook>());

// === impl Webhook ===

impl Section for Webhook {
    fn judge(&mut self, table: &Value) -> Option<()> {
        if let (Some(place), Order::None) = (table.get("order_patience"), self.order) {
            place.wrong::<()>("is of use with `order: partner` alone");
        }
        // A program may have replaced the format of rules without `payload`.
        let mut formats = table.plugins().formats.modes();
        self.payload = formats.find(|it| it.name == self.payload.name).unwrap_or(self.payload);
        let scheme = self.url.as_ref().and_then(Uri::scheme_str);
        if let (Some(place), Some("http")) = (table.get("tls"), scheme) {
            place.wrong::<()>("is of no use: the url is http, not https");
        }
        if table.get("sink").is_some() {
            let http = ["url", "secret", "secret_file", "headers", "tls"];
            for place in http.iter().filter_map(|key| table.get(key)) {
                place.wrong::<()>("is of no use: the webhook has a `sink`, which is not http");
            }
        }
        Some(())
    }
}

impl Webhook {
    fn rule(mut self) -> Rule {
        self.secret.extend(self.secret_file.map(|file| file.content));
        let url = match &self.sink {
            // A name that cannot stand in a URL is shown as `/`.
            Some(sink) => sink.name.parse().unwrap_or_default(),
            None => self.url.expect("a sound rule has a `url` or a `sink`"),
        };
        let endpoint = Endpoint {
            url,
            sink: self.sink,
            networks: None,
            payload: self.payload,
            keep: self.keep.unwrap_or_default(),
            secrets: self.secret,
            headers: self.headers,
            tls: self.tls.map(WebhookTls::read).unwrap_or_default(),
            pass_headers: self.pass_headers,
            timeout: self.timeout,
            retry: self.retry,
            concurrency: self.concurrency,
            order: self.order,
            order_patience: self.order_patience,
            rate: self.rate,
            disable_after: self.disable_after,
        };
        Rule {
            name: self.name,
            events: self.events,
            partner: self.partner,
            station: self.station,
            partner_type: self.partner_type,
            filters: Filters {
                documents: self.document,
                signature: self.signature,
                errors: self.errors,
            },
            site: self.site,
            route: self.route,
            enabled: self.enabled,
            endpoint,
        }
    }
}

// === impl WebhookTls ===

impl Section for WebhookTls {
    fn judge(&mut self, table: &Value) -> Option<()> {
        keys::judge_client(table, &self.client_certificate, self.client_key.as_ref())
    }
}

impl WebhookTls {
    fn read(self) -> Tls {
        const READ: &str = "OpenSSL writes what it has read";
        let pem = |file: &CertificateFile| {
            let pem = file.iter().flat_map(|certificate| certificate.to_pem().expect(READ));
            (!file.is_empty()).then(|| pem.collect())
        };
        let key = self.client_key.as_ref();
        let certificates = [&self.ca, &self.client_certificate].map(FromFile::path);
        let paths = certificates.into_iter().chain(key.map(FromFile::path));
        Tls {
            ca: pem(&self.ca),
            client_certificate: pem(&self.client_certificate),
            client_key: key.map(|key| key.private_key_to_pem_pkcs8().expect(READ)),
            sources: paths
                .filter(|path| !path.as_os_str().is_empty())
                .map(Path::to_owned)
                .collect(),
        }
    }
}
