//! One AS2 server's process, driven over HTTP.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use as2hook_testing::{Client, Post, pki::Identity, wait_until};
use serde_json::{Value, json};

pub(super) const SOON: Duration = Duration::from_secs(120);

/// What an AS2 server is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    /// django-pyas2; its HTTP proxy setting leads it to the outbound listener.
    Pyas2,
    /// libas2; the partner's URL is a path of the outbound listener, and a proxy setting takes the MDNs there.
    Libas2,
}

/// One AS2 server's process.
pub(super) struct Peer {
    child: Child,
    pub(super) client: Client,
}

/// What one message is to be, and which MDN it asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SendOptions<'a> {
    /// In the software's own spelling; empty: not signed.
    pub(super) signature: &'a str,
    /// In the software's own spelling; empty: not encrypted.
    pub(super) encryption: &'a str,
    pub(super) compress: bool,
    /// `SYNC` or `ASYNC`.
    pub(super) mdn: Option<&'a str>,
    /// The digest of the signed MDN; empty: an unsigned one will do.
    pub(super) mdn_sign: &'a str,
}

// === impl Software ===

impl Software {
    /// Where it takes messages and MDNs.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Pyas2 => "/pyas2/as2receive",
            Self::Libas2 => "/as2",
        }
    }

    fn command(self) -> Command {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        match self {
            Self::Pyas2 => {
                let mut command = Command::new(installed("AS2HOOK_INTEROP_PYTHON"));
                command.arg(here.join("peer.py"));
                command
            }
            Self::Libas2 => {
                let mut command = Command::new("node");
                command.arg(here.join("libas2/peer.js"));
                command.env("NODE_PATH", installed("AS2HOOK_INTEROP_NODE_PATH"));
                command
            }
        }
    }
}

/// What `tests/interop/run` has installed.
pub(super) fn installed(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.expect("run tests/interop/run, which installs the AS2 servers").into()
}

// === impl Peer ===

impl Peer {
    pub(super) fn start(
        software: Software,
        (folder, address): (&Path, SocketAddr),
        proxy: Option<&str>,
        (me, key): (&str, &Identity),
        (other, other_certificate): (&str, &Identity),
        (target_url, mdn_url): (&str, &str),
    ) -> Self {
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
            "proxy": proxy,
        });
        let config = file("config.json", config.to_string().as_bytes());
        let mut command = software.command();
        command.arg(folder).arg(address.port().to_string()).arg(config);
        command.env_remove("http_proxy").env("no_proxy", "127.0.0.1");
        if let Some(proxy) = proxy {
            command.env("http_proxy", proxy);
        }
        Self::spawn(command, address, folder, "/control/messages")
    }

    /// Starts a process and waits until it serves this path.
    pub(super) fn spawn(
        mut command: Command,
        address: SocketAddr,
        folder: &Path,
        path: &str,
    ) -> Self {
        fs::create_dir_all(folder).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let peer = Self { child: command.spawn().unwrap(), client: Client::new(address) };
        let up = || peer.client.get(path).is_ok_and(|reply| reply.status == 200);
        assert!(wait_until(SOON, up), "{}", fs::read_to_string(folder.join("log")).unwrap());
        peer
    }

    /// Sends a message; returns what the server makes of the response.
    pub(super) fn send(&self, options: SendOptions<'_>) -> Value {
        self.send_text(options, &"UNB+UNOC:3+ACME+MY-OWN-ORG'\r\n".repeat(100))
    }

    /// The same with this document.
    pub(super) fn send_text(&self, options: SendOptions<'_>, text: &str) -> Value {
        let set = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let options = json!({
            "signature": set(options.signature),
            "encryption": set(options.encryption),
            "compress": options.compress,
            "mdn": options.mdn.is_some(),
            "mdn_mode": options.mdn,
            "mdn_sign": set(options.mdn_sign),
            "text": text,
        });
        self.post("/control/send", &options)
    }

    /// Sends the asynchronous MDN that waits.
    pub(super) fn send_mdn(&self) {
        let sent = self.post("/control/mdns", &Value::Null);
        assert_eq!(sent["sent"].as_array().unwrap().len(), 1, "{sent}");
    }

    /// How this message stands.
    pub(super) fn status(&self, id: &Value) -> Value {
        self.message(id)["status"].clone()
    }

    /// What the server knows of this message.
    pub(super) fn message(&self, id: &Value) -> Value {
        let all = self.client.get("/control/messages").unwrap().json();
        let found = all["messages"].as_array().unwrap().iter().find(|one| one["id"] == *id);
        found.unwrap_or_else(|| panic!("{id} is not among {all}")).clone()
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.client.send(&Post::new(path, body.to_string().as_bytes())).unwrap();
        assert!(reply.status < 300, "{}", reply.text());
        reply.json()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
