//! The head of a request as bytes, before Pingora reads it: where it ends, and whether every reader
//! of HTTP/1.1 would read it alike.
//!
//! It asks for more than RFC 9112 does, since it stands between two other readers: what one of them
//! may take in another way is refused. It is rewritten only where the RFC has a proxy do so (see
//! `rewrite`).

/// Header fields of one request.
const FIELDS: usize = 256;

/// What a request is refused for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// RFC 9112 section 3.
    #[error(
        "The request line is not a method, a target and HTTP/1.1 with one blank between each; a target \
         has no blanks or control characters."
    )]
    RequestLine,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("Speak HTTP/1.1 or HTTP/1.0.")]
    Version,
    /// RFC 9112 section 2.2.
    #[error("A line of the head has a CR or an LF alone; each ends with CR LF.")]
    LineEnd,
    /// RFC 9112 section 5.2.
    #[error(
        "A line that begins with a blank stands behind the request line, Content-Length, \
         Transfer-Encoding, Connection or Host; only other headers may be folded."
    )]
    Folded,
    /// RFC 9110 section 5.1.
    #[error(
        "A header line has no name, or one with a blank or another character that a name cannot have."
    )]
    Name,
    /// RFC 9110 section 5.5.
    #[error("The value of a header has a control character.")]
    Value,
    /// More fields than fit.
    #[error("The request has more than {FIELDS} header lines.")]
    TooMany,
    /// RFC 9112 section 6.
    #[error("The request has {0}; it is not passed on, since two readers could see two messages.")]
    Framing(&'static str),
    /// A field that says who, where or what, and stands once.
    #[error("The request has the header {0} more than once.")]
    Repeated(&'static str),
    /// RFC 9112 section 3.2.2: the host stands in the target and in `Host`.
    #[error("The request names its host in two ways, or with a user before it.")]
    Host,
    /// RFC 9110 section 7.6.1: a field that `Connection` names ends here, and the receiver needs it.
    #[error("The header Connection names {0:?}, which has to be passed on.")]
    Nominated(String),
}

/// Looks for a head's end while its bytes come in.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    begin: usize,
    line: usize,
    seen: usize,
    folded: bool,
}

/// What Pingora has to know of a head that is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted<'h> {
    /// The body is chunked.
    pub(crate) is_chunked: bool,
    /// The target's authority, where `Host` is not the same to the byte or is not there. It becomes `Host`.
    pub(crate) host: Option<&'h [u8]>,
}

// === impl HeadError ===

impl HeadError {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Version => 505,
            Self::TooMany => 431,
            _ => 400,
        }
    }
}

// === impl Scan ===

impl Scan {
    /// Whether anything but empty lines has come. Call behind [`Self::more`], with the same bytes.
    pub(crate) fn has_begun(&self, bytes: &[u8]) -> bool {
        bytes.get(self.begin).is_some_and(|first| *first != b'\r')
    }

    /// Looks at what has come since the last call; `bytes` is all that has come. Where the head
    /// begins (behind empty lines, RFC 9112 section 2.2) and ends, when it is whole.
    ///
    /// # Errors
    /// What cannot become a head any more, as soon as that is known: its sender may be waiting.
    pub(crate) fn more(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<std::ops::Range<usize>>, HeadError> {
        self.first(bytes)?;
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + found;
            self.seen = end + 1;
            let line = &bytes[self.line..end];
            let Some((b'\r', line)) = line.split_last() else { return Err(HeadError::LineEnd) };
            let first = self.line == self.begin;
            self.line = end + 1;
            match (first, line.is_empty()) {
                (true, true) => {
                    self.begin = self.line;
                    self.first(bytes)?;
                }
                (true, false) => {
                    request_line(line)?;
                }
                (false, true) => return Ok(Some(self.begin..self.line)),
                (false, false) => self.folded |= is_blank(line[0]),
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }

    /// Whether a line of the head begins with a blank.
    pub(crate) fn is_folded(&self) -> bool {
        self.folded
    }

    /// A head begins with its method.
    fn first(&self, bytes: &[u8]) -> Result<(), HeadError> {
        match bytes.get(self.begin) {
            Some(&first) if !is_token(first) && first != b'\r' => Err(HeadError::RequestLine),
            _ => Ok(()),
        }
    }
}

/// Judges a whole head, from its request line to its empty line. What may be folded is unfolded before (see
/// `rewrite`).
///
/// # Errors
/// What it is refused for.
pub(crate) fn judge(head: &[u8]) -> Result<Accepted<'_>, HeadError> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let line = first.strip_suffix(b"\r").ok_or(HeadError::LineEnd)?;
    let RequestLine { old, authority } = request_line(line)?;
    // The Host that is added where there is none.
    let mut fields = usize::from(authority.is_some());
    let (mut lengths, mut codings) = (0, 0);
    // HTTP/1.0 asks for no Host.
    let mut host = authority;
    let mut once = [0u16; ONCE.len()];
    for line in lines {
        let Some(line) = line.strip_suffix(b"\r") else {
            if line.is_empty() {
                break;
            }
            return Err(HeadError::LineEnd);
        };
        if line.is_empty() {
            continue;
        }
        fields += 1;
        let (name, value) = field(line)?;
        let value = value.trim_ascii();
        if is(name, b"content-length") {
            lengths += 1;
            length(value)?;
        } else if is(name, b"transfer-encoding") {
            codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Framing("a Transfer-Encoding that is not just \"chunked\""));
            }
            if old {
                return Err(HeadError::Framing("Transfer-Encoding in HTTP/1.0"));
            }
        } else if alike(name, b"content-length") || alike(name, b"transfer-encoding") {
            return Err(HeadError::Framing(
                "a header that some servers read as one of its framing",
            ));
        } else if is(name, b"connection") {
            connection(value)?;
        } else if is(name, b"host") {
            if value.contains(&b'@')
                || authority.is_some_and(|authority| !is_same_host(authority, value))
            {
                return Err(HeadError::Host);
            }
            host = authority.filter(|authority| *authority != value);
            fields -= usize::from(authority.is_some());
        }
        if fields > FIELDS {
            return Err(HeadError::TooMany);
        }
        for (count, known) in once.iter_mut().zip(ONCE) {
            if is(name, known.as_bytes()) {
                *count += 1;
                if *count > 1 {
                    return Err(HeadError::Repeated(known));
                }
            }
        }
    }
    if lengths > 0 && codings > 0 {
        return Err(HeadError::Framing("both Content-Length and Transfer-Encoding"));
    }
    if lengths > 1 || codings > 1 {
        return Err(HeadError::Framing("more than one Content-Length or Transfer-Encoding"));
    }
    Ok(Accepted { is_chunked: codings > 0, host })
}

/// Fields of which two would be two values for one question. With `_` for `-` they are others: what a
/// server of the CGI kind makes of those is its own affair, and no delivery has them.
const ONCE: [&str; 4] = ["AS2-From", "AS2-To", "Message-ID", "Host"];

/// What `Connection` must not take away: the tap would see another message than the receiver. A
/// name with a hyphen behind stands for all that begin so.
const KEPT: [&str; 11] = [
    "AS2-",
    "Content-",
    "Disposition-Notification-",
    "Message-ID",
    "Transfer-Encoding",
    "Host",
    "Receipt-Delivery-Option",
    "MIME-Version",
    "Subject",
    "Date",
    "From",
];

/// Bytes of a name that the response shows.
const SHOWN: usize = 40;

/// What the request line says.
struct RequestLine<'l> {
    /// Whether it is HTTP/1.0.
    old: bool,
    /// Of a target in absolute form.
    authority: Option<&'l [u8]>,
}

fn request_line(line: &[u8]) -> Result<RequestLine<'_>, HeadError> {
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().ok_or(HeadError::RequestLine)?;
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(HeadError::RequestLine);
    }
    if target.is_empty() || target.iter().any(u8::is_ascii_control) {
        return Err(HeadError::RequestLine);
    }
    let old = match words.next() {
        Some(b"HTTP/1.1") => false,
        Some(b"HTTP/1.0") => true,
        // HTTP/0.9 has none, and no method but GET; HTTP/2 begins with `PRI * HTTP/2.0`.
        None if method == b"GET" => return Err(HeadError::Version),
        Some(word) if word.starts_with(b"HTTP/") => return Err(HeadError::Version),
        Some(_) | None => return Err(HeadError::RequestLine),
    };
    if words.next().is_some() {
        return Err(HeadError::RequestLine);
    }
    let authority = authority(target);
    if authority.is_some_and(|authority| authority.contains(&b'@')) {
        return Err(HeadError::Host);
    }
    Ok(RequestLine { old, authority })
}

fn authority(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'+')?;
    let rest = target[colon..].strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Letter case does not count, nor does a port that only one of them names: many clients leave it out of
/// `Host` (RFC 9112 section 3.2.2 has a proxy ignore that field).
fn is_same_host(authority: &[u8], host: &[u8]) -> bool {
    let ((one, port), (other, other_port)) = (host_and_port(authority), host_and_port(host));
    let ports = port.zip(other_port);
    one.eq_ignore_ascii_case(other) && ports.is_none_or(|(one, other)| one == other)
}

fn host_and_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon.map(|colon| (&authority[..colon], &authority[colon + 1..])) {
        Some((host, port)) if port.iter().all(u8::is_ascii_digit) => {
            (host, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if is_blank(line[0]) {
        return Err(HeadError::Folded);
    }
    let colon = memchr::memchr(b':', line).ok_or(HeadError::Name)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(HeadError::Name);
    }
    if value.contains(&b'\r') {
        return Err(HeadError::LineEnd);
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(HeadError::Value);
    }
    Ok((name, value))
}

/// RFC 9110 section 8.6: digits alone. Lists of the same number are not taken either.
fn length(value: &[u8]) -> Result<(), HeadError> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(_) if digits => Ok(()),
        _ => Err(HeadError::Framing("a Content-Length that is not one number")),
    }
}

fn connection(value: &[u8]) -> Result<(), HeadError> {
    for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        let takes = |kept: &&&str| match kept.ends_with('-') {
            true => option.get(..kept.len()).is_some_and(|start| alike(start, kept.as_bytes())),
            false => alike(option, kept.as_bytes()),
        };
        if KEPT.iter().any(|kept| takes(&kept)) {
            return Err(HeadError::Nominated(shown(option)));
        }
    }
    Ok(())
}

/// A name as it came. It may go on for as long as the head does, and a reader does not need all of that.
fn shown(name: &[u8]) -> String {
    match name.split_at_checked(SHOWN) {
        Some((begin, rest)) if !rest.is_empty() => format!("{}…", String::from_utf8_lossy(begin)),
        _ => String::from_utf8_lossy(name).into_owned(),
    }
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

/// Whether it is this name for a reader to whom `_` and `-` are one.
fn alike(name: &[u8], known: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == known.len() && name.iter().map(plain).eq(known.iter().map(plain))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
