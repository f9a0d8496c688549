//! One HTTP request within one deadline, over connections that are kept.
//!
//! HTTP/1.1 by hyper. Redirects are not followed, proxy variables of the environment are not looked at,
//! and no cookie is kept. Connections stay open between deliveries, one pool for each TLS profile and
//! guard. Webhooks that share both and an address share connections.
//!
//! **Names of headers** go out as the partner spelt them, and our own as `docs/webhooks.md` has them
//! (`AS2-From`, `X-Partner-Type`). HTTP holds them equal in any case (RFC 9110 section 5.1); this
//! is for receivers that do not.

mod answer;
mod body;
mod connector;
mod error;
mod profile;
mod resolve;
mod spelling;
mod stream;
mod tls;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use as2hook_webhooks::Endpoint;
use http::{HeaderMap, Method, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::{Instant, timeout_at};

pub use answer::Answer;
pub use body::{KeptPayload, RequestBody};
pub use connector::ConnectError;
pub use error::{DeliveryError, Step};
pub use tls::TlsFilesError;

use crate::guard::Guard;
use body::Body;
use profile::{Profile, Profiles};
use resolve::Names;
use spelling::Spelling;

/// Makes deliveries. Cheap to share; one serves the whole process.
pub struct Client {
    profiles: Profiles,
    spelling: Spelling,
}

/// What is sent: everything but the method, the host and the framing.
#[derive(Clone)]
pub struct Request {
    /// The header fields. `Content-Length` and `Host` are set here.
    pub headers: HeaderMap,
    /// Their names as they are to be spelt, in order.
    pub names: Vec<Cow<'static, str>>,
    /// The body.
    pub body: RequestBody,
}

/// How often a kept connection was used; travels with the connection.
#[derive(Clone, Debug, Default)]
struct Uses(Arc<AtomicUsize>);

// === impl Client ===

impl Client {
    /// A client with the system's resolver configuration.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When OpenSSL cannot be set up.
    pub async fn new() -> Result<Self, TlsFilesError> {
        let profiles = Profiles::new(Names::of_system())?;
        Ok(Self { profiles, spelling: Spelling::new().await })
    }

    /// How long an attempt may take: the endpoint's `timeout`, and one second more for each MiB of
    /// body.
    pub fn time_allowed(endpoint: &Endpoint, body: &RequestBody) -> Duration {
        const MIB: u64 = 1024 * 1024;
        endpoint
            .timeout
            .saturating_add(Duration::from_millis(body.size().saturating_mul(1000) / MIB))
    }

    /// Whether a webhook may be set to this URL: none of its host's addresses may be one that `guard`
    /// refuses. A name that has no address now, or is not resolved by `deadline`, is let through: it is
    /// judged again at every connect.
    ///
    /// # Errors
    /// [`ConnectError::Refused`].
    pub async fn vet(
        &self,
        url: &Uri,
        guard: &Guard,
        deadline: Instant,
    ) -> Result<(), ConnectError> {
        let host = url.host().unwrap_or_default();
        let refused = || ConnectError::Refused { host: host.to_owned() };
        if !guard.admits_url(url) {
            return Err(refused());
        }
        let lookup = self.profiles.names().addresses(host);
        let Ok(Ok(addresses)) = timeout_at(deadline, lookup).await else { return Ok(()) };
        let admitted = addresses.iter().all(|address| guard.admits(*address));
        if admitted { Ok(()) } else { Err(refused()) }
    }

    /// Sends one POST and waits for its answer; `deadline` covers name lookup, connect, TLS, sending,
    /// the answer's head and its body together.
    ///
    /// Any status is an [`Answer`]; what it means is the caller's to say. A kept connection that the
    /// endpoint closed meanwhile does not count: the request is sent once more on a fresh one, in the
    /// same time.
    ///
    /// # Errors
    /// When no answer came, or half of one.
    pub async fn deliver(
        &self,
        endpoint: &Endpoint,
        guard: &Guard,
        request: Request,
        deadline: Instant,
    ) -> Result<Answer, DeliveryError> {
        let begun = Instant::now();
        let profile = match timeout_at(deadline, self.profiles.of(&endpoint.tls, guard)).await {
            Ok(profile) => profile?,
            Err(_) => return Err(timed_out(begun, Step::Connect)),
        };
        let exchange = Exchange { client: self, profile, url: &endpoint.url, begun, deadline };
        match exchange.run(&request, Reuse::Allowed).await {
            Err(DeliveryError::Stale) => exchange.run(&request, Reuse::Forbidden).await,
            outcome => outcome,
        }
    }
}

/// One delivery on its way.
struct Exchange<'a> {
    client: &'a Client,
    profile: Arc<Profile>,
    url: &'a Uri,
    begun: Instant,
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Allowed,
    Forbidden,
}

// === impl Exchange ===

impl Exchange<'_> {
    async fn run(&self, request: &Request, reuse: Reuse) -> Result<Answer, DeliveryError> {
        let sent = Arc::new(AtomicBool::new(false));
        let body = Body::open(&request.body, sent.clone(), self.deadline).await?;
        let mut message = http::Request::new(body);
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.url.clone();
        *message.headers_mut() = request.headers.clone();
        message.headers_mut().insert(http::header::CONTENT_LENGTH, request.body.size().into());
        self.client.spelling.apply(&request.names, message.extensions_mut()).await;
        let connection = capture_connection(&mut message);

        let client = match reuse {
            Reuse::Allowed => &self.profile.pooled,
            Reuse::Forbidden => &self.profile.fresh,
        };
        let response = match timeout_at(self.deadline, client.request(message)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let uses = error.connect_info().map_or(0, Uses::of);
                return Err(error::of_request(&error, uses > 0 && reuse == Reuse::Allowed));
            }
            Err(_) => {
                let step = match (connection.connection_metadata().is_some(), sent) {
                    (false, _) => Step::Connect,
                    (true, sent) if sent.load(Ordering::Relaxed) => Step::Answer,
                    (true, _) => Step::Send,
                };
                return Err(timed_out(self.begun, step));
            }
        };
        if let Some(uses) = response.extensions().get::<Uses>() {
            uses.0.fetch_add(1, Ordering::Relaxed);
        }
        answer::read(response, self.begun, self.deadline).await
    }
}

fn timed_out(begun: Instant, step: Step) -> DeliveryError {
    DeliveryError::TimedOut { after: begun.elapsed(), step }
}

// === impl Request ===

impl fmt::Debug for Request {
    /// Without values: there are tokens among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Request").field("headers", &names).field("body", &self.body).finish()
    }
}

// === impl Uses ===

impl Uses {
    fn of(connected: &hyper_util::client::legacy::connect::Connected) -> usize {
        let mut extras = http::Extensions::new();
        connected.get_extras(&mut extras);
        extras.get::<Self>().map_or(0, |uses| uses.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_tokens_nor_documents() {
        let token = http::HeaderValue::from_static("Bearer hunter2");
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, token)]);
        let body = RequestBody::Bytes(bytes::Bytes::from_static(b"UNB+UNOA"));
        let shown = format!("{:?}", Request { headers, names: Vec::new(), body });
        assert_eq!(shown, "Request { headers: [\"authorization\"], body: 8 bytes in memory }");
    }
}
