//! Sends one HTTP request within one deadline, over kept connections.
//!
//! HTTP/1.1 by hyper. The client does not follow redirects, does not read the environment's proxy
//! variables and keeps no cookies. Connections stay open between deliveries, in one pool for each
//! TLS profile and guard. Webhooks that share both and an address share connections.
//!
//! **Header names** are sent as the partner spelled them, and our own as in `docs/webhooks.md`
//! (`AS2-From`, `X-Partner-Type`). Names are case-insensitive (RFC 9110 section 5.1); the spelling
//! is for receivers that compare them case-sensitively.

mod body;
mod connector;
mod error;
mod interim;
mod profile;
mod resolve;
mod response;
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
};

use as2hook_event::Endpoint;
use http::{HeaderMap, Method, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::{Instant, timeout_at};

pub use body::{BodyError, BodySource, BodyStream, RequestBody};
pub use connector::ConnectError;
pub use error::{DeliveryError, Step};
pub use response::EndpointResponse;
pub use tls::TlsFilesError;

use crate::guard::Guard;
use body::OutgoingBody;
use interim::InterimResponses;
use profile::{Profile, Profiles};
use resolve::NameResolver;
use spelling::HeaderSpelling;

/// Makes deliveries. Cheap to share; one client serves the whole process.
pub struct Client {
    profiles: Profiles,
    spelling: HeaderSpelling,
}

/// A request without its method, host and framing.
#[derive(Clone)]
pub struct Request {
    /// The header fields. The client adds `Content-Length` and `Host`.
    pub headers: HeaderMap,
    /// The header names as they are spelled on the wire, in order.
    pub names: Vec<Cow<'static, str>>,
    /// The body.
    pub body: RequestBody,
}

/// Counts how a kept connection is used. Each connection has its own.
#[derive(Clone, Debug, Default)]
struct ConnectionUsage {
    /// The number of requests.
    count: Arc<AtomicUsize>,
    /// Bytes read since the connection was opened or its last response ended.
    read: Arc<AtomicUsize>,
}

// === impl Client ===

impl Client {
    /// Creates a client with the system's resolver configuration.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When OpenSSL cannot be set up.
    pub async fn new() -> Result<Self, TlsFilesError> {
        let profiles = Profiles::new(NameResolver::of_system().await)?;
        Ok(Self { profiles, spelling: HeaderSpelling::new().await })
    }

    /// Sends one POST and waits for its response. `deadline` covers name lookup, connect, TLS,
    /// sending, and the response's head and body together.
    ///
    /// Any status gives an [`EndpointResponse`]; the caller interprets it. When the endpoint closed a kept
    /// connection in the meantime, the request is sent once more on a new connection, within the
    /// same deadline.
    ///
    /// # Errors
    /// When no response came, or an incomplete one.
    pub async fn deliver(
        &self,
        endpoint: &Endpoint,
        guard: &Guard,
        request: Request,
        deadline: Instant,
    ) -> Result<EndpointResponse, DeliveryError> {
        let begun = Instant::now();
        let profile = match timeout_at(deadline, self.profiles.of(&endpoint.tls, guard)).await {
            Ok(profile) => profile?,
            Err(_) => return Err(timed_out(begun, Step::Connect)),
        };
        let exchange =
            RequestAttempt { client: self, profile, url: &endpoint.url, begun, deadline };
        match exchange.run(&request, Reuse::Allowed).await {
            Err(DeliveryError::Stale) => exchange.run(&request, Reuse::Forbidden).await,
            outcome => outcome,
        }
    }
}

/// One request that is being sent.
struct RequestAttempt<'a> {
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

// === impl RequestAttempt ===

impl RequestAttempt<'_> {
    async fn run(
        &self,
        request: &Request,
        reuse: Reuse,
    ) -> Result<EndpointResponse, DeliveryError> {
        let sent = Arc::new(AtomicBool::new(false));
        let body = OutgoingBody::open(&request.body, sent.clone(), self.deadline).await;
        let mut message = http::Request::new(body?);
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.url.clone();
        *message.headers_mut() = request.headers.clone();
        message.headers_mut().insert(http::header::CONTENT_LENGTH, request.body.size().into());
        self.client.spelling.apply(&request.names, message.extensions_mut()).await;
        let connection = capture_connection(&mut message);
        let interim = InterimResponses::of(&mut message, connection.clone());

        let client = match reuse {
            Reuse::Allowed => &self.profile.pooled,
            Reuse::Forbidden => &self.profile.fresh,
        };
        let response = match timeout_at(self.deadline, client.request(message)).await {
            Ok(_) if interim.are_too_many() => return Err(DeliveryError::InterimResponses),
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let uses = error
                    .connect_info()
                    .and_then(ConnectionUsage::of)
                    .map_or(0, |uses| uses.count());
                return Err(error::of_request(&error, uses > 0 && reuse == Reuse::Allowed));
            }
            Err(_) => {
                let step = match (connection.connection_metadata().is_some(), sent) {
                    (false, _) => Step::Connect,
                    (true, sent) if sent.load(Ordering::Relaxed) => Step::Response,
                    (true, _) => Step::Send,
                };
                return Err(timed_out(self.begun, step));
            }
        };
        let uses = response.extensions().get::<ConnectionUsage>().cloned();
        let outcome = response::read(response, self.begun, self.deadline).await;
        if let Some(uses) = uses {
            uses.response_ended();
        }
        outcome
    }
}

fn timed_out(begun: Instant, step: Step) -> DeliveryError {
    DeliveryError::TimedOut { after: begun.elapsed(), step }
}

// === impl Request ===

impl fmt::Debug for Request {
    /// Leaves header values out: they may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Request").field("headers", &names).field("body", &self.body).finish()
    }
}

// === impl ConnectionUsage ===

impl ConnectionUsage {
    /// Far more than a TLS handshake, a response's head and the start of its body take. A webhook
    /// has no reason to send more, such as TLS session tickets without end.
    const READ_MAX: usize = 1024 * 1024;
    /// The least that one read counts for. Each read costs CPU, and hyper may parse a head again
    /// with every piece of it.
    const READ_LEAST: usize = 256;

    fn of(connected: &hyper_util::client::legacy::connect::Connected) -> Option<Self> {
        let mut extras = http::Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove()
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether more may be read before a response ends.
    fn may_read(&self) -> bool {
        self.read.load(Ordering::Relaxed) < Self::READ_MAX
    }

    fn has_read(&self, bytes: usize) {
        self.read.fetch_add(bytes.max(Self::READ_LEAST), Ordering::Relaxed);
    }

    /// Makes the next read from the connection fail.
    fn end_connection(&self) {
        self.read.store(Self::READ_MAX, Ordering::Relaxed);
    }

    /// Resets the count: a response has been read to its end.
    fn response_ended(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
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
