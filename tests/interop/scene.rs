//! Two AS2 servers with a gateway before ours.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use as2hook_testing::{
    Endpoint, Gateway, Request, Running,
    gateway::free_address,
    pki::{self, Identity},
    sink,
};

use super::peer::{Peer, SOON, Software};

/// The AS2 id behind the gateway.
pub(super) const OURS: &str = "MY-OWN-ORG";
/// The AS2 id of the partner.
pub(super) const THEIRS: &str = "ACME";

/// Two AS2 servers with a gateway before ours.
pub(super) struct Scene {
    pub(super) ours: Peer,
    pub(super) theirs: Peer,
    pub(super) sink: Endpoint,
    _gateway: Running,
}

/// The gateway before our AS2 server, which is not yet running.
pub(super) struct GatewaySetup {
    pub(super) gateway: Running,
    pub(super) sink: Endpoint,
    pub(super) inbound: SocketAddr,
    pub(super) outbound: SocketAddr,
    /// Where our server is to listen.
    pub(super) receiver: SocketAddr,
}

// === impl Scene ===

impl Scene {
    /// `their_key`: what the partner signs and decrypts with; the gateway and our server take it to be
    /// [`pki::partner()`].
    pub(super) fn new(ours: Software, theirs: Software, their_key: &Identity) -> Self {
        Self::with_certificate(ours, theirs, their_key, pki::partner())
    }

    /// The same with the certificate that our server has of the partner; the gateway's is [`pki::partner()`].
    pub(super) fn with_certificate(
        ours: Software,
        theirs: Software,
        their_key: &Identity,
        certificate: &Identity,
    ) -> Self {
        let address = free_address();
        // By name: the proxy setting below leaves 127.0.0.1 out.
        let their_url = format!("http://localhost:{}{}", address.port(), theirs.path());
        let setup = GatewaySetup::new(&their_url, true);
        let proxy = format!("http://{}", setup.outbound);
        let inbound = format!("http://{}{}", setup.inbound, ours.path());
        let folder = setup.gateway.folder();
        let target = match ours {
            Software::Pyas2 => their_url.clone(),
            Software::Libas2 => format!("{proxy}/out/{THEIRS}"),
        };
        let ours = Peer::start(
            ours,
            (&folder.join("ours"), setup.receiver),
            Some(&proxy),
            (OURS, pki::station()),
            (THEIRS, certificate),
            (&target, &inbound),
        );
        let theirs = Peer::start(
            theirs,
            (&folder.join("theirs"), address),
            None,
            (THEIRS, their_key),
            (OURS, pki::station()),
            (&inbound, &their_url),
        );
        Self { ours, theirs, sink: setup.sink, _gateway: setup.gateway }
    }

    /// The next events, by name.
    pub(super) fn events(&self, names: &[&str]) -> Vec<Arc<Request>> {
        events(&self.sink, names)
    }
}

/// The next events of a sink, which have to be these, by name.
pub(super) fn events(sink: &Endpoint, names: &[&str]) -> Vec<Arc<Request>> {
    let mut seen = sink.wait_for(names.len(), SOON).unwrap();
    seen.sort_by_key(|request| request.header("X-AS2-Event").unwrap().to_owned());
    let found: Vec<_> = seen.iter().map(|one| one.header("X-AS2-Event").unwrap()).collect();
    assert_eq!(found, names, "{:#?}", seen.iter().map(|one| one.json()).collect::<Vec<_>>());
    sink.forget();
    seen
}

// === impl GatewaySetup ===

impl GatewaySetup {
    /// `certificate`: whether the config has the partner's.
    pub(super) fn new(their_url: &str, certificate: bool) -> Self {
        let receiver = free_address();
        let sink = sink().start();
        let mut gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver_url(&format!("http://{receiver}"))
            .outbound()
            .station(OURS, pki::station())
            .partner_with(THEIRS, |partner| {
                let partner = partner.url(their_url);
                if certificate { partner.certificate(Path::new("keys/their.crt")) } else { partner }
            })
            .rule("all", |rule| rule.to(&sink, "/hook").payload("json").events(&["*"]))
            .prepare()
            .unwrap();
        let theirs = pki::partner().certificate.to_pem().unwrap();
        fs::write(gateway.folder().join("keys/their.crt"), theirs).unwrap();
        gateway.start().unwrap();
        let (inbound, outbound) = (gateway.inbound().address(), gateway.outbound().address());
        Self { gateway, sink, inbound, outbound, receiver }
    }
}

/// django-pyas2 keeps Message-IDs without their brackets.
pub(super) fn bare(id: &str) -> &str {
    id.trim_start_matches('<').trim_end_matches('>')
}

/// One line of what `tests/interop/run` prints.
pub(super) fn report(line: &str) {
    println!("interop: {line}");
}
