//! A server and a client that keep every byte: what HTTP libraries make of malformed messages is the
//! very thing under test.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// The longest that anything is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Records what comes, a connection at a time, and responds to each whole request.
#[derive(Clone)]
pub(crate) struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Record>>>,
    response: Arc<Mutex<Vec<u8>>>,
}

/// What came on one connection.
type Record = Arc<Mutex<Vec<u8>>>;

/// A request as a strict reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            response: Arc::new(Mutex::new(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            )),
        };
        let recorder = this.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let recorder = recorder.clone();
                thread::spawn(move || recorder.serve(socket));
            }
        });
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The response to every request from now on, to the byte; then the connection is closed.
    pub(crate) fn respond(&self, bytes: &[u8]) {
        *self.response.lock().unwrap() = bytes.to_vec();
    }

    /// Everything that came, by connection.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.connections.lock().unwrap().iter().map(|c| c.lock().unwrap().clone()).collect()
    }

    /// The whole requests that came, and what stands behind them on their connections.
    pub(crate) fn seen(&self) -> (Vec<Seen>, Vec<u8>) {
        let (mut all, mut rest) = (Vec::new(), Vec::new());
        for bytes in self.bytes() {
            let (mut bytes, before) = (&bytes[..], all.len());
            while let Some((seen, length)) = parse(bytes) {
                all.push(seen);
                bytes = &bytes[length..];
            }
            // A broken request has a connection of its own.
            if all.len() > before {
                rest.extend_from_slice(bytes);
            }
        }
        (all, rest)
    }

    pub(crate) fn forget(&self) {
        self.connections.lock().unwrap().clear();
    }

    fn serve(&self, mut socket: TcpStream) {
        let record = Arc::new(Mutex::new(Vec::new()));
        self.connections.lock().unwrap().push(record.clone());
        let mut piece = [0; 64 << 10];
        let mut responded = 0;
        while let Ok(read @ 1..) = socket.read(&mut piece) {
            let mut bytes = record.lock().unwrap();
            bytes.extend_from_slice(&piece[..read]);
            while let Some((_, length)) = parse(&bytes[responded..]) {
                responded += length;
                let response = self.response.lock().unwrap().clone();
                let _ = socket.write_all(&response);
                if !response.starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n") {
                    let _ = socket.shutdown(std::net::Shutdown::Write);
                }
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn fields(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| &value[..]).collect()
    }
}

/// The first whole request in these bytes, and its length. Panics on what is not strict HTTP/1.1 with
/// one framing: nothing else may ever reach a receiver.
fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = &bytes[..end - 4];
    let mut lines =
        head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8_lossy(lines.next().unwrap()).into_owned();
    assert!(line.ends_with(" HTTP/1.1") && line.split(' ').count() == 3, "{line:?}");
    let fields: Vec<_> = lines
        .map(|line| {
            assert!(!line.iter().any(|b| b.is_ascii_control() && *b != b'\t'), "{line:?}");
            let colon = line.iter().position(|&byte| byte == b':').expect("a field has a name");
            let name = String::from_utf8(line[..colon].to_vec()).expect("a name is ASCII");
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            assert!(!name.is_empty() && name.chars().all(token), "{name:?}");
            (name, line[colon + 1..].trim_ascii().to_vec())
        })
        .collect();
    let seen = Seen { line, fields, body: Vec::new() };
    let lengths = seen.fields("content-length");
    let codings = seen.fields("transfer-encoding");
    assert_eq!(seen.fields("host").len(), 1, "{seen:?}");
    match (&lengths[..], &codings[..]) {
        ([], []) => Some((seen, end)),
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit), "{length:?}");
            let length: usize = String::from_utf8_lossy(length).parse().unwrap();
            let body = bytes.get(end..end + length)?.to_vec();
            Some((Seen { body, ..seen }, end + length))
        }
        ([], [coding]) => {
            assert_eq!(*coding, b"chunked");
            let (body, length) = chunks(&bytes[end..])?;
            Some((Seen { body, ..seen }, end + length))
        }
        _ => panic!("two framings: {seen:?}"),
    }
}

pub(crate) fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = &bytes[at..at + line];
        assert!(!size.is_empty() && size.iter().all(u8::is_ascii_hexdigit), "{size:?}");
        let size = usize::from_str_radix(&String::from_utf8_lossy(size), 16).unwrap();
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "no trailers, and whole chunks");
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

/// Sends bytes and reads until the other side closes, or `until` holds. What came.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8], until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // The response may come before the last byte, and the connection close with it.
    let _ = socket.write_all(bytes);
    let (mut came, mut piece) = (Vec::new(), [0; 64 << 10]);
    let began = Instant::now();
    while began.elapsed() < SOON && !until(&came) {
        match socket.read(&mut piece) {
            Ok(0) => return came,
            Ok(read) => came.extend_from_slice(&piece[..read]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(_) => return came,
        }
    }
    came
}
