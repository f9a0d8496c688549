//! What the gateway's config gets of an OpenAS2.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    collector::Collector,
    partnerships::{Partnership, Partnerships},
    server::Server,
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

/// What a segment of a path shows as it is (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

// === impl Takeover ===

impl Takeover {
    pub(super) fn of(
        source: &Path,
        server: Server,
        partnerships: &Partnerships,
        own: &BTreeSet<String>,
        password: Option<String>,
    ) -> Self {
        let ports = GatewayPorts::beside(&server, &partnerships.all);
        let mut collector = Collector::new(server, &partnerships.all, own);
        let unread = partnerships.unread.iter();
        collector.todos.extend(unread.map(|what| format!("{what}: it is not taken over.")));
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
