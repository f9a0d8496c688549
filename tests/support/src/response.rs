//! An endpoint's scripted responses, good and bad.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::http::Request;
use crate::mdn::Mdn;

/// One scripted response. The default is `200` with `Content-Length: 0`, after the whole body was read.
#[derive(Clone)]
pub struct Response {
    pub(crate) conduct: Conduct,
    pub(crate) invite: bool,
    pub(crate) delay: Duration,
    status: u16,
    headers: Vec<(String, String)>,
    interim: Vec<(u16, Vec<(String, String)>)>,
    body: BodyOf,
    framing: Frame,
    cut: Option<usize>,
    pub(crate) close: bool,
}

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Reads all of it, then responds.
    Respond,
    /// Responds to the head alone, then reads and drops the body.
    RespondEarly,
    /// Reads all of it and closes without a word.
    Close,
    /// Closes when it has seen the head.
    CloseEarly,
    /// Reads all of it and keeps the connection open in silence until the endpoint stops.
    Silence,
    /// Never reads the body, never responds.
    Deaf,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    Length,
    Chunked(usize),
    UntilClose,
}

type Make = Arc<dyn Fn(&Request) -> (Vec<(String, String)>, Vec<u8>) + Send + Sync>;

#[derive(Clone)]
enum BodyOf {
    Fixed(Vec<u8>),
    Made(Make),
}

// === impl Response ===

impl Response {
    /// 200 with an empty body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            conduct: Conduct::Respond,
            invite: true,
            delay: Duration::ZERO,
            status,
            headers: Vec::new(),
            interim: Vec::new(),
            body: BodyOf::Fixed(Vec::new()),
            framing: Frame::Length,
            cut: None,
            close: false,
        }
    }

    /// 200 with a synchronous MDN about the request's `Message-ID`.
    pub fn mdn(mdn: Mdn) -> Self {
        let make = move |request: &Request| mdn.answering(request).into_parts();
        Self { body: BodyOf::Made(Arc::new(make)), ..Self::ok() }
    }

    /// 200 with an empty body, once this is done: behind the request's last byte, before the response's first.
    pub fn ok_after(act: impl Fn() + Send + Sync + 'static) -> Self {
        let make = move |_: &Request| {
            act();
            (Vec::new(), Vec::new())
        };
        Self { body: BodyOf::Made(Arc::new(make)), ..Self::ok() }
    }

    /// Reads the request and closes without a word.
    pub fn closed() -> Self {
        Self { conduct: Conduct::Close, ..Self::ok() }
    }

    /// Closes as soon as the request's head is there.
    pub fn closed_early() -> Self {
        Self { conduct: Conduct::CloseEarly, ..Self::ok() }
    }

    /// Reads the request and never responds.
    pub fn silence() -> Self {
        Self { conduct: Conduct::Silence, ..Self::ok() }
    }

    /// Never reads the body and never responds.
    pub fn deaf() -> Self {
        Self { conduct: Conduct::Deaf, ..Self::ok() }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = BodyOf::Fixed(body.into());
        self
    }

    /// An interim response (102, 103) to go before the final one.
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        let owned = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.interim.push((status, owned));
        self
    }

    /// Waits between the request's last byte, or the interim responses, and the final response.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body in chunks of this many bytes.
    pub fn chunked(mut self, size: usize) -> Self {
        self.framing = Frame::Chunked(size.max(1));
        self
    }

    /// Sends neither length nor chunks and closes behind the body.
    pub fn until_close(mut self) -> Self {
        self.framing = Frame::UntilClose;
        self.close = true;
        self
    }

    /// Responds to the head alone; the body is read and dropped afterwards.
    pub fn early(mut self) -> Self {
        self.conduct = Conduct::RespondEarly;
        self
    }

    /// Sends no `100 Continue`, however much the client would like one.
    pub fn uninviting(mut self) -> Self {
        self.invite = false;
        self
    }

    /// Only the first `bytes` of the final response, head included; then closes.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self.close = true;
        self
    }

    /// Closes behind the response without having announced it.
    pub fn then_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Writes the interim responses.
    pub(crate) fn write_interim(&self, to: &mut dyn Write) -> io::Result<()> {
        for (status, headers) in &self.interim {
            to.write_all(&head(*status, headers))?;
        }
        to.flush()
    }

    /// Writes the final response.
    pub(crate) fn write_final(&self, request: &Request, to: &mut dyn Write) -> io::Result<()> {
        let wire = self.wire(request);
        let end = self.cut.unwrap_or(wire.len()).min(wire.len());
        to.write_all(&wire[..end])?;
        to.flush()
    }

    fn wire(&self, request: &Request) -> Vec<u8> {
        let (mut headers, body) = match &self.body {
            BodyOf::Fixed(body) => (Vec::new(), body.clone()),
            BodyOf::Made(make) => make(request),
        };
        headers.extend(self.headers.iter().cloned());
        let bodiless = matches!(self.status, 204 | 304);
        match self.framing {
            _ if bodiless => {}
            Frame::Length => headers.push(("Content-Length".into(), body.len().to_string())),
            Frame::Chunked(_) => headers.push(("Transfer-Encoding".into(), "chunked".into())),
            Frame::UntilClose => {}
        }
        let mut wire = head(self.status, &headers);
        match self.framing {
            _ if bodiless || request.method() == "HEAD" => {}
            Frame::Chunked(size) => {
                for piece in body.chunks(size) {
                    wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    wire.extend_from_slice(piece);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\n\r\n");
            }
            Frame::Length | Frame::UntilClose => wire.extend_from_slice(&body),
        }
        wire
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.status, self.conduct)
    }
}

fn head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Whatever",
    }
}
