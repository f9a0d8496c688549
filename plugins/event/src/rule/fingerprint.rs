//! Detects that a webhook's rule has changed.

use openssl::sha::Sha256;

use super::{Rule, Tls};

#[cfg(test)]
mod tests;

/// Feeds a hash so that two different rules never feed it the same bytes.
struct FingerprintHash(Sha256);

impl Rule {
    /// Returns a hash that is equal for two rules exactly when they do not differ: SHA-256 in
    /// lower-case hex over every field, including the secrets and the contents of the TLS files.
    /// The order of `events` and the paths of files do not count.
    ///
    /// It does not reveal a secret, but weak secrets could be guessed with it: it belongs into the
    /// store, not into a response or a log.
    pub fn fingerprint(&self) -> String {
        let Self {
            name,
            events,
            partner,
            station,
            partner_type,
            filters,
            site,
            route,
            enabled,
            endpoint,
        } = self;
        let mut feed = FingerprintHash(Sha256::new());
        feed.text(name);
        feed.option(events.as_ref(), |feed, events| {
            let mut events = events.clone();
            events.sort_unstable();
            events.dedup();
            feed.list(&events, |feed, event| feed.text(event.as_str()));
        });
        feed.option(partner.as_ref(), |feed, partner| feed.text(partner));
        feed.option(station.as_ref(), |feed, station| feed.text(station));
        feed.option(partner_type.as_ref(), |feed, kind| feed.text(kind.as_str()));
        feed.text(site);
        feed.text(&format!("{route:?} {enabled}"));

        feed.text(&endpoint.url.to_string());
        feed.text(endpoint.payload.name);
        feed.list(&endpoint.secrets, |feed, secret| feed.bytes(secret.key()));
        feed.list(&endpoint.headers, |feed, (name, value)| {
            feed.text(name.as_str());
            feed.bytes(value.as_bytes());
        });
        let Tls { ca, client_certificate, client_key, sources: _ } = &endpoint.tls;
        for file in [ca, client_certificate, client_key] {
            feed.option(file.as_ref(), |feed, pem| feed.bytes(pem));
        }
        let (pass, order) = (&endpoint.pass_headers, endpoint.order);
        feed.text(&format!("{pass:?} {order:?} {}", endpoint.concurrency));
        feed.text(&format!("{:?} {:?}", endpoint.timeout, endpoint.retry));
        // Only if they are set: a rule without them keeps its former fingerprint, so that an
        // upgrade brings no disabled webhook back.
        if let Some(rate) = endpoint.rate {
            feed.text(&format!("rate {rate}"));
        }
        if let Some(after) = endpoint.disable_after {
            feed.text(&format!("disable_after {after:?}"));
        }
        if let Some(limit) = endpoint.order_patience {
            feed.text(&format!("order_patience {limit:?}"));
        }
        if let Some(sink) = &endpoint.sink {
            feed.text(&format!("sink {} {}", sink.name, sink.keys));
        }
        if filters.mask().is_some() {
            feed.text(&format!("filters {:?}", filters.mask()));
        }
        feed.hex()
    }
}

// === impl FingerprintHash ===

impl FingerprintHash {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, feed: impl FnOnce(&mut Self, &T)) {
        self.bytes(if value.is_some() { b"some" } else { b"none" });
        if let Some(value) = value {
            feed(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], mut feed: impl FnMut(&mut Self, &T)) {
        self.text(&values.len().to_string());
        for value in values {
            feed(self, value);
        }
    }

    fn hex(self) -> String {
        as2hook_as2::hex::encode(&self.0.finish())
    }
}
