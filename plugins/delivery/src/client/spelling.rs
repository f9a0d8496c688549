//! How header names are spelt on the wire.
//!
//! `http::HeaderName` holds lower case alone. hyper can write names in the case they were read in: the
//! head that it parsed carries the spelling as an opaque extension, and a head it writes with that
//! extension is spelt so. The type is private to hyper, extensions can be copied all the same: so a
//! head with the names that matter is read once, and its extension goes along with every request.

use std::borrow::Cow;

use dashmap::DashMap;
use http::Extensions;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

/// The usual names whose title case is not how AS2 and Standard Webhooks spell them.
const NAMES: [&str; 17] = [
    "AS2-From",
    "AS2-To",
    "AS2-Version",
    "Content-ID",
    "Content-MD5",
    "EDIINT-Features",
    "ETag",
    "MIME-Version",
    "Message-ID",
    "Original-Message-ID",
    "X-AS2-Attempt",
    "X-AS2-Event",
    "X-AS2-Replay",
    "X-AS2-Signature",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Known spellings.
pub(super) struct Spelling {
    usual: Extensions,
    /// By the unusual names of a request: partners send the same ones every time.
    unusual: DashMap<String, Extensions>,
}

// === impl Spelling ===

impl Spelling {
    /// Sets of unusual names that are remembered; what comes beyond is spelt as usual.
    const SETS: usize = 1024;
    /// The longest such set, in bytes.
    const LONGEST: usize = 1024;

    /// Lets hyper read the usual names once. Should it ever stop telling, names go out in title case.
    pub(super) async fn new() -> Self {
        Self { usual: read(&[]).await, unusual: DashMap::new() }
    }

    /// Has a request written with its names spelt like this.
    pub(super) async fn apply(&self, names: &[Cow<'static, str>], extensions: &mut Extensions) {
        let unusual: Vec<&str> =
            names.iter().map(AsRef::as_ref).filter(|name| !is_usual(name)).collect();
        if unusual.is_empty() {
            extensions.extend(self.usual.clone());
            return;
        }
        let key = unusual.join("\n");
        if let Some(known) = self.unusual.get(&key) {
            extensions.extend(known.clone());
            return;
        }
        if key.len() > Self::LONGEST || self.unusual.len() >= Self::SETS {
            extensions.extend(self.usual.clone());
            return;
        }
        let spelt = read(&unusual).await;
        extensions.extend(spelt.clone());
        self.unusual.insert(key, spelt);
    }
}

/// The spelling of these names, and of the usual ones beside them.
async fn read(names: &[&str]) -> Extensions {
    let mut head = String::from("POST / HTTP/1.1\r\nHost: names\r\nContent-Length: 0\r\n");
    let beside = |usual: &&&str| !names.iter().any(|name| name.eq_ignore_ascii_case(usual));
    for name in names.iter().chain(NAMES.iter().filter(beside)) {
        // Anything else would end the head early; it cannot be sent either.
        if http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !is_framing(name) {
            head.push_str(name);
            head.push_str(": 1\r\n");
        }
    }
    head.push_str("\r\n");

    let (mut ours, theirs) = tokio::io::duplex(16 * 1024);
    let (tell, told) = std::sync::mpsc::channel();
    let note = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let _ = tell.send(request.extensions().clone());
        async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) }
    });
    let served = http1::Builder::new()
        .preserve_header_case(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(theirs), note);
    // Both ends are in this process's memory, and head and answer fit the pipe: nothing can wait.
    let (_written, _served) = tokio::join!(ours.write_all(head.as_bytes()), served);
    told.try_recv().unwrap_or_default()
}

/// Names that would mean something to the reading itself; ours are usual anyway.
fn is_framing(name: &str) -> bool {
    ["host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"]
        .iter()
        .any(|framing| framing.eq_ignore_ascii_case(name))
}

/// Whether a name is spelt right without being remembered.
fn is_usual(name: &str) -> bool {
    NAMES.contains(&name) || is_title_case(name) && !known_otherwise(name)
}

/// As hyper makes it: capitals at the beginning and behind each hyphen.
fn is_title_case(name: &str) -> bool {
    let mut before = b'-';
    name.bytes().all(|byte| {
        let right =
            if before == b'-' { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
        before = byte;
        right
    })
}

/// A usual name in title case is unusual.
fn known_otherwise(name: &str) -> bool {
    NAMES.iter().any(|usual| usual.eq_ignore_ascii_case(name))
}
