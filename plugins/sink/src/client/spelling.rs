//! Controls the case of header names on the wire.
//!
//! `http::HeaderName` holds lower case only. hyper can write names in the case in which it read
//! them: it attaches the spelling to a parsed head as an extension, and uses that extension when it
//! writes. The extension's type is private to hyper, but extensions can be cloned: a head with the
//! wanted names is parsed once, and its extension goes with every request.

use std::{borrow::Cow, num::NonZero, sync::Arc};

use http::Extensions;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;

/// Usual names whose spelling in AS2 and Standard Webhooks is not title case.
const NAMES: [&str; 21] = [
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
    "X-AS2-Document",
    "X-AS2-Event",
    "X-AS2-Event-Id",
    "X-AS2-Replay",
    "X-AS2-Signature",
    "X-AS2-Signature-Status",
    "X-AS2-Test",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Extensions for known spellings.
pub(super) struct HeaderSpelling {
    usual: Extensions,
    /// By the unusual names of a set: partners send the same ones every time.
    unusual: Mutex<LruCache<String, Arc<Extensions>>>,
}

// === impl HeaderSpelling ===

impl HeaderSpelling {
    /// The longest set of unusual names, in bytes; a longer set keeps the usual spelling.
    const LONGEST: usize = 1024;
    /// The most sets of unusual names that are kept; another is parsed again when it is needed.
    const SETS: NonZero<usize> = NonZero::new(1024).expect("1024 is not zero");

    /// Parses the usual names once. If hyper stops attaching the spelling, names go out in title
    /// case.
    pub(super) async fn new() -> Self {
        Self { usual: read(&[]).await, unusual: Mutex::new(LruCache::new(Self::SETS)) }
    }

    /// Sets the spelling of a request's names.
    pub(super) async fn apply(&self, names: &[Cow<'static, str>], extensions: &mut Extensions) {
        let unusual: Vec<&str> =
            names.iter().map(AsRef::as_ref).filter(|name| !is_usual(name)).collect();
        let length: usize = unusual.iter().map(|name| name.len() + 1).sum();
        if unusual.is_empty() || length > Self::LONGEST {
            extensions.extend(self.usual.clone());
            return;
        }
        let key = unusual.join("\n");
        let known = self.unusual.lock().get(&key).cloned();
        let spelt = match known {
            Some(known) => known,
            None => {
                let spelt = Arc::new(read(&unusual).await);
                self.unusual.lock().put(key, spelt.clone());
                spelt
            }
        };
        extensions.extend((*spelt).clone());
    }
}

/// Returns the extension for these names and the usual ones.
async fn read(names: &[&str]) -> Extensions {
    let mut head = String::from("POST / HTTP/1.1\r\nHost: names\r\nContent-Length: 0\r\n");
    let beside = |usual: &&&str| !names.iter().any(|name| name.eq_ignore_ascii_case(usual));
    for name in names.iter().chain(NAMES.iter().filter(beside)) {
        // Any other byte would end the head early, and it cannot be sent either.
        if http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !is_framing(name) {
            head.push_str(name);
            head.push_str(": 1\r\n");
        }
    }
    head.push_str("\r\n");

    let (mut ours, theirs) = tokio::io::duplex(16 * 1024);
    let (sender, parsed) = std::sync::mpsc::channel();
    let note = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let _ = sender.send(request.extensions().clone());
        async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) }
    });
    let served = http1::Builder::new()
        .preserve_header_case(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(theirs), note);
    // Both ends are in memory, and head and response fit the pipe: this does not block.
    let (_written, _served) = tokio::join!(ours.write_all(head.as_bytes()), served);
    parsed.try_recv().unwrap_or_default()
}

/// Names that would change how the head is parsed; our own spelling of them is usual.
fn is_framing(name: &str) -> bool {
    ["host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"]
        .iter()
        .any(|framing| framing.eq_ignore_ascii_case(name))
}

/// Whether a name gets the right spelling without the cache.
fn is_usual(name: &str) -> bool {
    NAMES.contains(&name) || is_title_case(name) && !known_otherwise(name)
}

/// Whether hyper's default gives this spelling: capitals at the beginning and after each hyphen.
fn is_title_case(name: &str) -> bool {
    let mut before = b'-';
    name.bytes().all(|byte| {
        let right =
            if before == b'-' { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
        before = byte;
        right
    })
}

/// Whether a usual name has another spelling here, which makes it unusual.
fn known_otherwise(name: &str) -> bool {
    NAMES.iter().any(|usual| usual.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn used_sets_of_names_stay_cached_when_many_others_come() {
        let spelling = HeaderSpelling::new().await;
        let names = |n: usize| [Cow::Owned(format!("oDD-{n}")), Cow::Borrowed("X-ODD")];
        let key = |n: usize| format!("oDD-{n}\nX-ODD");
        for n in 0..2 * HeaderSpelling::SETS.get() {
            spelling.apply(&names(0), &mut Extensions::new()).await;
            spelling.apply(&names(n), &mut Extensions::new()).await;
        }
        let mut cache = spelling.unusual.lock();
        assert!(cache.get(&key(0)).is_some());
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.len() <= HeaderSpelling::SETS.get());
    }
}
