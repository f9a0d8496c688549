//! A scriptable HTTP/1.1 server on loopback that records every byte it gets.
//!
//! One thread a connection, blocking: what the script says is what happens on the wire, in that order.

mod serve;

use std::collections::VecDeque;
use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;

use crate::gateway::free_address;
use crate::http::{Head, Request};
use crate::mdn::Mdn;
use crate::pki::Identity;
use crate::response::Response;

/// An AS2 server's stand-in: responds with 200 and a synchronous, unsigned MDN that says `processed`.
pub fn receiver() -> Builder {
    Builder::new(Response::mdn(Mdn::processed()))
}

/// A webhook endpoint: responds with 200 and an empty body.
pub fn sink() -> Builder {
    Builder::new(Response::ok())
}

/// An endpoint that is not yet listening.
pub struct Builder {
    tls: Option<SslAcceptor>,
    keep: usize,
    response: Response,
}

/// A running endpoint. Dropping it closes every connection.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the endpoint does with a connection that waits for its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Keeps it.
    Keep,
    /// Closes it after this long, unannounced. Zero: right behind the response.
    CloseAfter(Duration),
    /// Closes it when the first bytes of another request come.
    CloseOnReuse,
}

/// The wait ended before enough requests had come.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} for {wanted} requests and got {}: {seen:?}", seen.len())]
pub struct TooFew {
    /// How many were waited for.
    pub wanted: usize,
    /// How long.
    pub waited: Duration,
    /// The request lines that did come.
    pub seen: Vec<String>,
}

type Script = Box<dyn Fn(&Head) -> Response + Send + Sync>;

/// What the endpoint's threads have in common.
struct Shared {
    tls: Option<SslAcceptor>,
    keep: usize,
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicUsize,
    closed: AtomicUsize,
}

struct State {
    requests: Vec<Arc<Request>>,
    next: VecDeque<Response>,
    script: Script,
    idle: Idle,
    sockets: Vec<TcpStream>,
}

// === impl Builder ===

impl Builder {
    fn new(response: Response) -> Self {
        Self { tls: None, keep: 64 << 20, response }
    }

    /// Speaks TLS as this server.
    pub fn tls(self, identity: &Identity) -> Self {
        self.tls_with(identity, None)
    }

    /// Speaks TLS and refuses clients without a certificate of this authority.
    pub fn mutual_tls(self, identity: &Identity, authority: &Identity) -> Self {
        self.tls_with(identity, Some(authority))
    }

    /// How many bytes of each body stay in memory; all of it is hashed. 64 MiB by default.
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Its response when nothing else is scripted.
    pub fn respond(mut self, response: Response) -> Self {
        self.response = response;
        self
    }

    /// Listens on a free port of 127.0.0.1.
    pub fn start(self) -> Endpoint {
        let response = self.response;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let state = State {
            requests: Vec::new(),
            next: VecDeque::new(),
            script: Box::new(move |_| response.clone()),
            idle: Idle::Keep,
            sockets: Vec::new(),
        };
        let shared = Arc::new(Shared {
            tls: self.tls,
            keep: self.keep,
            stopped: AtomicBool::new(true),
            state: Mutex::new(state),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
        });
        // Its own while it is stopped, too.
        let address = free_address();
        let listener = TcpListener::bind(address).expect("the port is ours");
        let endpoint = Endpoint { shared, address, scheme, acceptor: Mutex::new(None) };
        endpoint.accept(listener);
        endpoint
    }

    fn tls_with(mut self, identity: &Identity, authority: Option<&Identity>) -> Self {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_private_key(&identity.key).unwrap();
        builder.set_certificate(&identity.certificate).unwrap();
        if let Some(authority) = authority {
            let mut store = X509StoreBuilder::new().unwrap();
            store.add_cert(authority.certificate.clone()).unwrap();
            builder.set_verify_cert_store(store.build()).unwrap();
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        self.tls = Some(builder.build());
        self
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("response", &self.response).finish_non_exhaustive()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path on it; `localhost` for TLS, as its certificate says.
    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// These responses come next, one for each request, whatever its path; then the standing one again.
    pub fn next(&self, responses: impl IntoIterator<Item = Response>) {
        self.shared.lock().next.extend(responses);
    }

    /// The standing response from now on.
    pub fn respond(&self, response: Response) {
        self.script(move |_| response.clone());
    }

    /// The standing response, made from each request's head.
    pub fn script(&self, script: impl Fn(&Head) -> Response + Send + Sync + 'static) {
        self.shared.lock().script = Box::new(script);
    }

    /// What it does with idle connections from now on.
    pub fn idle(&self, idle: Idle) {
        self.shared.lock().idle = idle;
    }

    /// Every request so far, in the order in which their bodies ended.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.shared.lock().requests.clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them it has closed.
    pub fn closed_connections(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.lock().requests.clear();
    }

    /// Waits until `wanted` requests have come, and returns all that are there.
    pub fn wait_for(&self, wanted: usize, within: Duration) -> Result<Vec<Arc<Request>>, TooFew> {
        self.wait_until(wanted, within, |_| true)
    }

    /// Waits until `wanted` requests have come that are like this, and returns those.
    pub fn wait_until(
        &self,
        wanted: usize,
        within: Duration,
        like: impl Fn(&Request) -> bool,
    ) -> Result<Vec<Arc<Request>>, TooFew> {
        let deadline = Instant::now() + within;
        let mut state = self.shared.lock();
        loop {
            let found: Vec<_> = state.requests.iter().filter(|r| like(r)).cloned().collect();
            if found.len() >= wanted {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen = state.requests.iter().map(|r| r.head.line.clone()).collect();
                return Err(TooFew { wanted, waited: within, seen });
            }
            state = self.shared.changed.wait_timeout(state, left).expect("no poison").0;
        }
    }

    /// Closes every connection and stops listening: connecting is refused from here on.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.acceptor.lock().expect("no poison").take() {
            drop(thread.join());
        }
        for socket in self.shared.lock().sockets.drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
        self.shared.changed.notify_all();
    }

    /// Listens again on the same port.
    pub fn resume(&self) {
        let listener = TcpListener::bind(self.address).expect("the port is still ours");
        self.accept(listener);
    }

    fn accept(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        shared.stopped.store(false, Ordering::SeqCst);
        let thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(copy) = socket.try_clone() {
                    shared.lock().remember(copy);
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    serve::connection(&shared, socket, number);
                    shared.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        *self.acceptor.lock().expect("no poison") = Some(thread);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this")
    }

    fn record(&self, request: Arc<Request>) {
        self.lock().requests.push(request);
        self.changed.notify_all();
    }

    fn response_to(&self, head: &Head) -> Response {
        let mut state = self.lock();
        state.next.pop_front().unwrap_or_else(|| (state.script)(head))
    }

    /// Waits until the endpoint stops, at most as long as any test runs.
    fn wait_for_stop(&self) {
        let state = self.lock();
        let running = |_: &mut State| !self.stopped.load(Ordering::SeqCst);
        drop(self.changed.wait_timeout_while(state, crate::stream::PATIENCE * 5, running));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    /// Keeps a handle to close the connection by, and lets go of those that are closed already.
    fn remember(&mut self, socket: TcpStream) {
        if self.sockets.len() >= 64 {
            self.sockets.retain(|known| known.peer_addr().is_ok());
        }
        self.sockets.push(socket);
    }
}

#[cfg(test)]
mod tests;
