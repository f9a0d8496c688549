//! The gateway between two real AS2 servers (django-pyas2), in both directions. Run by
//! `tests/interop/run`, which installs them.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use as2hook_testing::{
    Client, Endpoint, Gateway, Post, Request, Running,
    gateway::free_address,
    pki::{self, Identity},
    sink, wait_until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

/// Names beside the partner's settings of django-pyas2.
const LAYERS: [(&str, [&str; 3]); 6] = [
    ("plain", ["", "", ""]),
    ("signed", ["sha256", "", ""]),
    ("encrypted", ["", "aes_256_cbc", ""]),
    ("signed and encrypted", ["sha256", "aes_256_cbc", ""]),
    ("compressed, signed and encrypted", ["sha256", "aes_128_cbc", "yes"]),
    ("signed by SHA-1, with 3DES", ["sha1", "tripledes_192_cbc", ""]),
];

/// Two AS2 servers with a gateway before ours.
struct Scene {
    ours: Peer,
    theirs: Peer,
    sink: Endpoint,
    _gateway: Running,
}

/// One AS2 server's process.
struct Peer {
    child: Child,
    client: Client,
}

// === impl Scene ===

impl Scene {
    /// `their_key`: what the partner signs and decrypts with; everybody else believes it to be
    /// [`pki::partner()`].
    fn new(their_key: &'static Identity) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "interop-{}-{}",
            std::process::id(),
            their_key.name
        ));
        let (our_address, their_address) = (free_address(), free_address());
        // By name: the proxy setting below leaves 127.0.0.1 out.
        let their_url = format!("http://localhost:{}/pyas2/as2receive", their_address.port());
        let sink = sink().start();
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver_url(&format!("http://{our_address}"))
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner_with("ACME", |acme| {
                acme.url(&their_url).certificate(Path::new("keys/my-partner.crt"))
            })
            .rule("all", |rule| rule.to(&sink, "/hook").payload("json").events(&["*"]))
            .prepare()
            .unwrap();
        let certificate = pki::partner().certificate.to_pem().unwrap();
        fs::write(gateway.folder().join("keys/my-partner.crt"), certificate).unwrap();
        let mut gateway = gateway;
        gateway.start().unwrap();
        let inbound = format!("http://{}/pyas2/as2receive", gateway.inbound().address());
        let proxy = format!("http://{}", gateway.outbound().address());
        let ours = Peer::start(
            &folder.join("ours"),
            our_address,
            Some(&proxy),
            ("MY-OWN-ORG", pki::station()),
            ("ACME", pki::partner()),
            (&their_url, &inbound),
        );
        let theirs = Peer::start(
            &folder.join("theirs"),
            their_address,
            None,
            ("ACME", their_key),
            ("MY-OWN-ORG", pki::station()),
            (&inbound, &their_url),
        );
        Self { ours, theirs, sink, _gateway: gateway }
    }

    /// The next events, by name.
    fn told(&self, events: &[&str]) -> Vec<Arc<Request>> {
        let told = self.sink.wait_for(events.len(), SOON).unwrap();
        let mut names: Vec<_> = told.iter().map(|t| t.header("X-AS2-Event").unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, events);
        self.sink.forget();
        let mut told = told;
        told.sort_by_key(|request| request.header("X-AS2-Event").unwrap().to_owned());
        told
    }
}

// === impl Peer ===

impl Peer {
    fn start(
        folder: &Path,
        address: SocketAddr,
        proxy: Option<&str>,
        (me, key): (&str, &Identity),
        (other, other_certificate): (&str, &Identity),
        (target_url, mdn_url): (&str, &str),
    ) -> Self {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let mut pem = key.key.private_key_to_pem_pkcs8().unwrap();
        pem.extend(key.certificate.to_pem().unwrap());
        let config = json!({
            "me": me,
            "key": file("own.pem", &pem),
            "other": other,
            "other_certificate": file("other.crt", &other_certificate.certificate.to_pem().unwrap()),
            "target_url": target_url,
            "mdn_url": mdn_url,
        });
        let config = file("config.json", config.to_string().as_bytes());
        let python = std::env::var_os("AS2HOOK_INTEROP_PYTHON");
        let python = python.expect("run tests/interop/run, which installs the AS2 servers");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peer.py");
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(python);
        command.arg(script).arg(folder).arg(address.port().to_string()).arg(config);
        command.env_remove("http_proxy").env("no_proxy", "127.0.0.1");
        if let Some(proxy) = proxy {
            command.env("http_proxy", proxy);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let peer = Self { child: command.spawn().unwrap(), client: Client::new(address) };
        let up = || peer.client.get("/control/messages").is_ok_and(|reply| reply.status == 200);
        assert!(wait_until(SOON, up), "{}", fs::read_to_string(folder.join("log")).unwrap());
        peer
    }

    /// Sends a message; returns what the server makes of the answer.
    fn send(&self, [signature, encryption, compress]: [&str; 3], mdn: Option<&str>) -> Value {
        let set = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let wishes = json!({
            "signature": set(signature),
            "encryption": set(encryption),
            "compress": !compress.is_empty(),
            "mdn": mdn.is_some(),
            "mdn_mode": mdn,
            "mdn_sign": mdn.map(|_| "sha256"),
            "text": "UNB+UNOC:3+ACME+MY-OWN-ORG'\r\n".repeat(100),
        });
        self.post("/control/send", &wishes)
    }

    /// Sends the asynchronous MDN that waits.
    fn send_mdn(&self) {
        let sent = self.post("/control/mdns", &Value::Null);
        assert_eq!(sent["sent"].as_array().unwrap().len(), 1, "{sent}");
    }

    /// How this message stands.
    fn status(&self, id: &Value) -> Value {
        let all = self.client.get("/control/messages").unwrap().json();
        let found = all["messages"].as_array().unwrap().iter().find(|one| one["id"] == *id);
        found.unwrap_or_else(|| panic!("{id} is not among {all}"))["status"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.client.send(&Post::new(path, body.to_string().as_bytes())).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn messages_and_receipts_pass_and_are_told_in_both_directions() {
    let scene = Scene::new(pki::partner());
    for (name, layers) in LAYERS {
        let [signature, encryption, _] = layers;
        let seen = |told: &Request| {
            let told = told.json();
            assert_eq!(told["errors"], json!([]), "{name}");
            assert_eq!(told["encrypted"], !encryption.is_empty(), "{name}");
            if encryption.is_empty() {
                assert_eq!(told["signed"], !signature.is_empty(), "{name}");
            }
        };
        let mdn = |told: &Request, matches: Value| {
            let told = told.json();
            assert_eq!(told["micMatches"], matches, "{name}: {told}");
            assert_eq!(told["signatureVerified"], true, "{name}: {told}");
            assert_eq!(told["mdnError"], false, "{name}: {told}");
        };
        // django-pyas2 tells the MIC of what was signed alone, and by the signature's algorithm, whatever
        // it is asked for (SHA-256 here).
        let inbound = if signature == "sha256" { json!(true) } else { Value::Null };
        // What is encrypted for the partner only the partner can see.
        let outbound = if encryption.is_empty() { inbound.clone() } else { Value::Null };

        let sent = scene.ours.send(layers, Some("SYNC"));
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let told = scene.told(&["mdn.received", "message.sent"]);
        mdn(&told[0], outbound.clone());
        seen(&told[1]);

        let sent = scene.ours.send(layers, Some("ASYNC"));
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        seen(&scene.told(&["message.sent"])[0]);
        scene.theirs.send_mdn();
        let told = scene.told(&["mdn.received"]);
        mdn(&told[0], outbound);
        assert_eq!(told[0].json()["messageKnown"], true, "{name}");
        assert_eq!(scene.ours.status(&sent["id"]), "S", "{name}");

        let sent = scene.theirs.send(layers, Some("SYNC"));
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let told = scene.told(&["mdn.sent", "message.received"]);
        mdn(&told[0], inbound);
        seen(&told[1]);
        assert_eq!(told[1].json()["signed"], !signature.is_empty(), "{name}");

        let sent = scene.theirs.send(layers, Some("ASYNC"));
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        seen(&scene.told(&["message.received"])[0]);
        // Through the outbound listener, as an HTTP proxy setting sends it.
        scene.ours.send_mdn();
        let told = scene.told(&["mdn.sent"]);
        assert_eq!(told[0].json()["as2MessageId"].as_str().map(bare), sent["id"].as_str());
        assert_eq!(scene.theirs.status(&sent["id"]), "S", "{name}");
    }
    let sent = scene.ours.send(["sha256", "", ""], None);
    assert_eq!(sent["status"], "S", "{sent}");
    scene.told(&["message.sent"]);
    let sent = scene.theirs.send(["sha256", "", ""], None);
    assert_eq!(sent["status"], "S", "{sent}");
    scene.told(&["message.received"]);
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn a_wrong_certificate_on_their_side_is_told() {
    let scene = Scene::new(pki::stranger());
    // They cannot open it, and say so under a signature that is not theirs.
    let sent = scene.ours.send(["sha256", "aes_256_cbc", ""], Some("SYNC"));
    assert_eq!(sent["status"], "E", "{sent}");
    let told = scene.told(&["mdn.received", "send.error"]);
    assert_eq!(told[0].json()["signatureVerified"], false);
    assert_eq!(told[1].json()["error"]["stage"], "signature");
    // They take it, and their receipt counts for nothing.
    scene.ours.send(["sha256", "", ""], Some("ASYNC"));
    scene.told(&["message.sent"]);
    scene.theirs.send_mdn();
    let told = scene.told(&["mdn.received"]);
    assert!(told[0].header("X-Processing-Error").unwrap().starts_with("900: "));
    // We cannot verify what they sign, nor can our server.
    scene.theirs.send(["sha256", "aes_256_cbc", ""], Some("SYNC"));
    let told = scene.told(&["mdn.sent", "message.received"]);
    assert_eq!(told[0].json()["mdnError"], true);
    let errors = told[1].json()["errors"].clone();
    let codes: Vec<_> = errors.as_array().unwrap().iter().map(|e| e["code"].clone()).collect();
    assert_eq!(codes, [json!(900), json!(1200)], "{errors}");
}

/// django-pyas2 keeps Message-IDs without their brackets.
fn bare(id: &str) -> &str {
    id.trim_start_matches('<').trim_end_matches('>')
}
