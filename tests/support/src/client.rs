//! A raw HTTP/1.1 client, as polite as each request asks.

mod post;
mod reply;

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;

pub use post::Post;
use post::{Framed, Manner};
pub use reply::Reply;

use crate::http::{Body, Head, read_head};
use crate::pki::Identity;
use crate::stream::{self, PATIENCE, Stream};

/// Somewhere to send requests to.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Option<SslConnector>,
}

/// A connection that is kept for several requests.
#[derive(Debug)]
pub struct Connection {
    wire: BufReader<Stream>,
}

// === impl Client ===

impl Client {
    /// Plain HTTP.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// HTTPS to `localhost`, trusting this authority; with a client certificate where one is given.
    pub fn tls(address: SocketAddr, authority: &Identity, own: Option<&Identity>) -> Self {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority.certificate.clone()).unwrap();
        builder.set_verify_cert_store(store.build()).unwrap();
        builder.set_verify(SslVerifyMode::PEER);
        if let Some(own) = own {
            builder.set_certificate(&own.certificate).unwrap();
            builder.set_private_key(&own.key).unwrap();
        }
        Self { address, tls: Some(builder.build()) }
    }

    /// Where it sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Opens a connection.
    pub fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        let stream = match &self.tls {
            None => Stream::plain(socket)?,
            Some(tls) => {
                stream::set_up(&socket)?;
                let tls = tls.connect("localhost", socket).map_err(io::Error::other)?;
                Stream::Tls(Box::new(tls))
            }
        };
        Ok(Connection { wire: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends one request on a connection of its own.
    pub fn send(&self, post: &Post<'_>) -> io::Result<Reply> {
        self.connect()?.send(post)
    }

    /// `GET`s a path.
    pub fn get(&self, path: &str) -> io::Result<Reply> {
        self.send(&Post::method("GET", path))
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request and waits for its response. A response that came while the request could not be
    /// sent to its end is a response all the same.
    pub fn send(&mut self, post: &Post<'_>) -> io::Result<Reply> {
        let mut interim = Vec::new();
        let sent = self.send_only(post, &mut interim);
        match self.receive(post.verb(), interim) {
            Ok(reply) => Ok(Reply { sent: sent.unwrap_or_default(), ..reply }),
            Err(received) => Err(sent.err().unwrap_or(received)),
        }
    }

    /// Sends several requests before it reads the first response: pipelining.
    pub fn pipeline(&mut self, posts: &[Post<'_>]) -> io::Result<Vec<Reply>> {
        for post in posts {
            self.send_only(post, &mut Vec::new())?;
        }
        posts.iter().map(|post| self.receive(post.verb(), Vec::new())).collect()
    }

    /// Sends a request and waits for nothing, `100 Continue` apart.
    pub fn send_and_leave(mut self, post: &Post<'_>) -> io::Result<()> {
        self.send_only(post, &mut Vec::new()).map(drop)
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.get_mut().write_all(bytes)?;
        self.wire.get_mut().flush()
    }

    /// Reads one response to a request of this method.
    pub fn read_reply(&mut self, method: &str) -> io::Result<Reply> {
        self.receive(method, Vec::new())
    }

    /// Sends the end of our side, and keeps on reading.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.wire.get_mut().finish_writing()
    }

    /// Writes a request; returns what its body was.
    fn send_only(&mut self, post: &Post<'_>, interim: &mut Vec<Head>) -> io::Result<Body> {
        let manner = &post.manner;
        let head = post.head()?;
        self.write(&head)?;
        if manner.expect_continue && !self.invited(manner, interim)? {
            return Ok(Body::default());
        }
        let mut out = Framed::new(self.wire.get_mut(), post);
        let sent = match post.write_body(&mut out).and_then(|()| out.finish()) {
            // The request was to end here.
            Err(e) if e.kind() == ErrorKind::WriteZero && manner.cut.is_some() => {
                self.half_close()?;
                return Ok(Body::default());
            }
            other => other?,
        };
        if manner.half_close {
            self.half_close()?;
        }
        Ok(sent)
    }

    /// Waits for `100 Continue`, as long as the sender's manners say. False: a final response came
    /// instead, and is kept in the buffer for `receive`.
    fn invited(&mut self, manner: &Manner, interim: &mut Vec<Head>) -> io::Result<bool> {
        self.wire.get_ref().socket().set_read_timeout(Some(manner.invitation))?;
        let came = reply::peek_interim(&mut self.wire);
        self.wire.get_ref().socket().set_read_timeout(Some(PATIENCE))?;
        match came {
            Ok(true) => {
                interim.extend(read_head(&mut self.wire)?);
                Ok(true)
            }
            Ok(false) => Ok(false),
            // No response: RFC 9110 section 10.1.1 lets the client send all the same.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
            Err(e) => Err(e),
        }
    }

    fn receive(&mut self, method: &str, interim: Vec<Head>) -> io::Result<Reply> {
        reply::read(&mut self.wire, method, interim)
    }
}

/// Sleeps between pieces of a slow body.
fn pause(manner: &Manner) {
    if !manner.pause.is_zero() {
        thread::sleep(manner.pause);
    }
}

#[cfg(test)]
mod tests;
