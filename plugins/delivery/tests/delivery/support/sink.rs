//! A webhook endpoint that does what a test needs, byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::watch,
};

/// A running endpoint.
#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    pub state: Arc<State>,
}

#[derive(Default)]
pub struct State {
    requests: Mutex<Vec<Received>>,
    pub connections: AtomicUsize,
    pub at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
    /// Bytes of `EndlessRaw`.
    pub written: AtomicUsize,
}

/// A request as received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its head, byte for byte.
    pub head: String,
    pub body: Vec<u8>,
    pub at: Instant,
    /// Which request it is on this connection, from 0.
    pub on_connection: usize,
}

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A complete response.
    Status(u16),
    /// A complete response with this additional header line.
    With(u16, String),
    /// A complete response after a while.
    After(Duration, u16),
    /// A complete response once the gate is open.
    Behind(Gate, u16),
    /// These bytes, then the connection ends.
    Raw(Vec<u8>),
    /// These bytes again and again, until the client ends the connection.
    EndlessRaw(Vec<u8>),
    /// These bytes every second, until the client ends the connection.
    DripRaw(Vec<u8>),
    /// A 200 whose body never ends.
    Endless,
    /// A head, then one byte every 20 ms.
    Drip(u16),
    /// No response, forever.
    Hang,
    /// The connection ends without a byte.
    Close,
    /// A complete response that promises to keep the connection, which is closed all the same.
    ThenClose(u16),
}

/// Blocks responses until it is opened. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }
}

impl Received {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Sink {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start(reply: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Arc::new(reply), None).await
    }

    /// Starts one that responds to everything with this status.
    pub async fn answering(status: u16) -> Self {
        Self::start(move |_| Reply::Status(status)).await
    }

    pub async fn start_with(
        reply: Arc<dyn Fn(&Received) -> Reply + Send + Sync>,
        tls: Option<openssl::ssl::SslAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, reply, tls)
    }

    pub fn on(
        listener: TcpListener,
        reply: Arc<dyn Fn(&Received) -> Reply + Send + Sync>,
        tls: Option<openssl::ssl::SslAcceptor>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                served.connections.fetch_add(1, Ordering::SeqCst);
                let (state, reply) = (served.clone(), reply.clone());
                let ssl = tls.as_ref().map(|tls| openssl::ssl::Ssl::new(tls.context()).unwrap());
                tokio::spawn(async move {
                    let Some(ssl) = ssl else {
                        serve(tcp, &state, &*reply).await;
                        return;
                    };
                    let io = hyper_util::rt::TokioIo::new(tcp);
                    let mut stream = hyper_openssl::SslStream::new(ssl, io).unwrap();
                    let accept = std::future::poll_fn(|context| {
                        std::pin::Pin::new(&mut stream).poll_accept(context)
                    });
                    if accept.await.is_ok() {
                        let stream = hyper_util::rt::TokioIo::new(stream);
                        serve(stream, &state, &*reply).await;
                    }
                });
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn requests(&self) -> Vec<Received> {
        self.state.requests.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

/// Reserves a port of 127.0.0.1 without a listener.
pub fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    state: &State,
    reply: &(dyn Fn(&Received) -> Reply + Send + Sync),
) {
    let mut buffer = Vec::new();
    let mut on_connection = 0;
    while let Some(received) = read(&mut stream, &mut buffer, on_connection).await {
        on_connection += 1;
        let now = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_at_once.fetch_max(now, Ordering::SeqCst);
        let reply = reply(&received);
        state.requests.lock().unwrap().push(received);
        wait(&mut stream, &reply).await;
        if let Reply::EndlessRaw(bytes) = &reply {
            while stream.write_all(bytes).await.is_ok() {
                state.written.fetch_add(bytes.len(), Ordering::SeqCst);
            }
        }
        // The client may send its next request before this continues.
        state.at_once.fetch_sub(1, Ordering::SeqCst);
        if !answer(&mut stream, reply).await {
            return;
        }
    }
}

/// Waits as long as the response is to be delayed.
async fn wait<S: AsyncRead + Unpin>(stream: &mut S, reply: &Reply) {
    match reply {
        Reply::After(wait, _) => tokio::time::sleep(*wait).await,
        Reply::Behind(gate, _) => {
            // The gate itself keeps the sender.
            let _ = gate.is_open.subscribe().wait_for(|is_open| *is_open).await;
        }
        Reply::Hang => {
            // Until the client closes the connection.
            let _ = stream.read(&mut [0; 16]).await;
        }
        _ => {}
    }
}

/// Responds. Returns false when the connection ends with the response.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> bool {
    let whole = |status: u16, line: &str| {
        format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n{line}\r\nok").into_bytes()
    };
    match reply {
        Reply::Status(status) | Reply::After(_, status) | Reply::Behind(_, status) => {
            stream.write_all(&whole(status, "")).await.is_ok()
        }
        Reply::With(status, line) => {
            stream.write_all(&whole(status, &format!("{line}\r\n"))).await.is_ok()
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            false
        }
        Reply::Endless => {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while stream.write_all(b"400\r\n").await.is_ok()
                && stream.write_all(&[b'x'; 0x400]).await.is_ok()
                && stream.write_all(b"\r\n").await.is_ok()
            {}
            false
        }
        Reply::Drip(status) => {
            let head = format!("HTTP/1.1 {status} Slow\r\nContent-Length: 1000\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        }
        Reply::DripRaw(bytes) => {
            while stream.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            false
        }
        Reply::Hang | Reply::Close | Reply::EndlessRaw(_) => false,
        Reply::ThenClose(status) => {
            let _ = stream.write_all(&whole(status, "")).await;
            let _ = stream.shutdown().await;
            false
        }
    }
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    on_connection: usize,
) -> Option<Received> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut received = Received { head, body: Vec::new(), at: Instant::now(), on_connection };
    let length: usize = received.header("content-length").map_or(0, |n| n.parse().unwrap());
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    received.body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some(received)
}
