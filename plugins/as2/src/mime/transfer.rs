//! Content-Transfer-Encoding, decoded while it passes (RFC 2045 section 6).

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use crate::{fault::Fault, gather::Out, headers::Headers, hex};

/// Decodes one body.
pub(crate) enum Transfer {
    /// 7bit, 8bit, binary, and whatever is not known.
    Identity,
    /// Declared base64, not yet looked at: the header may lie.
    Sniff(Vec<u8>),
    /// base64.
    Base64(Base64),
    /// quoted-printable.
    Quoted(Quoted),
}

/// Incremental base64; what is not of its alphabet is passed over.
pub(crate) struct Base64 {
    pending: Vec<u8>,
    out: Vec<u8>,
}

/// Incremental quoted-printable.
#[derive(Default)]
pub(crate) struct Quoted {
    /// `=` and what came behind it, while it is not decided.
    pending: Vec<u8>,
    /// Blanks at a line's end are not content.
    blanks: Vec<u8>,
    out: Vec<u8>,
}

/// Trailing bits are not checked: some encoders leave them set.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// Bytes looked at before base64 is believed.
const SNIFFED: usize = 256;
/// Encoded bytes decoded at once; a multiple of four.
const PIECE: usize = 16 * 1024;
/// Blanks held at a line's end.
const MAX_BLANKS: usize = 1024;

// === impl Transfer ===

impl Transfer {
    /// As the header declares it.
    pub(crate) fn declared(headers: &Headers) -> Self {
        let Some(value) = headers.text("content-transfer-encoding") else { return Self::Identity };
        let name = value.split(';').next().unwrap_or_default();
        match name
            .trim_matches(|c: char| c == '"' || c.is_whitespace())
            .to_ascii_lowercase()
            .as_str()
        {
            "base64" => Self::Sniff(Vec::new()),
            "quoted-printable" => Self::Quoted(Quoted::default()),
            _ => Self::Identity,
        }
    }

    /// base64 for certain.
    pub(crate) fn base64() -> Self {
        Self::Base64(Base64::new())
    }

    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
        match self {
            Self::Identity => out(bytes),
            Self::Base64(base64) => base64.push(bytes, out),
            Self::Quoted(quoted) => quoted.push(bytes, out),
            Self::Sniff(first) => {
                let take = bytes.len().min(SNIFFED - first.len());
                first.extend_from_slice(&bytes[..take]);
                if first.len() < SNIFFED {
                    return Ok(());
                }
                self.decide(out)?;
                self.push(&bytes[take..], out)
            }
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        match self {
            Self::Identity => Ok(()),
            Self::Base64(base64) => base64.finish(out),
            Self::Quoted(quoted) => quoted.finish(out),
            Self::Sniff(_) => {
                self.decide(out)?;
                self.finish(out)
            }
        }
    }

    /// Decodes a whole body at once.
    pub(crate) fn decoded(mut self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len());
        let mut keep = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        // Neither can fail: what takes the bytes does not.
        let _ = self.push(body, &mut keep);
        let _ = self.finish(&mut keep);
        out
    }

    fn decide(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        let Self::Sniff(first) = self else { return Ok(()) };
        let first = std::mem::take(first);
        *self = if is_base64(&first) { Self::base64() } else { Self::Identity };
        self.push(&first, out)
    }
}

/// Whether these are characters of base64, and white space, alone.
pub(crate) fn is_base64(text: &[u8]) -> bool {
    let is_fit =
        |b: &u8| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || b"+/=".contains(b);
    text.iter().all(is_fit)
}

// === impl Base64 ===

impl Base64 {
    fn new() -> Self {
        Self { pending: Vec::with_capacity(PIECE), out: Vec::new() }
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let run = memchr::memchr3(b'\r', b'\n', b'=', bytes).unwrap_or(bytes.len());
            let (mut text, rest) = bytes.split_at(run);
            while !text.is_empty() {
                let take = text.len().min(PIECE - self.pending.len());
                self.pending.extend_from_slice(&text[..take]);
                text = &text[take..];
                if self.pending.len() == PIECE {
                    self.decode(out)?;
                }
            }
            match rest.first() {
                // The end of one base64 text; some senders concatenate several.
                Some(b'=') => {
                    self.finish(out)?;
                    bytes = &rest[1..];
                }
                Some(_) => bytes = &rest[1..],
                None => bytes = rest,
            }
        }
        Ok(())
    }

    /// Decodes the whole quartets at hand.
    fn decode(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        let mut whole = self.pending.len() / 4 * 4;
        self.out.resize(PIECE, 0);
        let decoded = match ENGINE.decode_slice(&self.pending[..whole], &mut self.out) {
            Ok(count) => count,
            Err(_) => {
                self.pending.retain(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
                whole = self.pending.len() / 4 * 4;
                ENGINE.decode_slice(&self.pending[..whole], &mut self.out).unwrap_or(0)
            }
        };
        self.pending.drain(..whole);
        if decoded == 0 { Ok(()) } else { out(&self.out[..decoded]) }
    }

    fn finish(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        self.decode(out)?;
        let mut last = [0; 4];
        self.pending.retain(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        let count = ENGINE.decode_slice(&self.pending, &mut last).unwrap_or(0);
        self.pending.clear();
        if count == 0 { Ok(()) } else { out(&last[..count]) }
    }
}

// === impl Quoted ===

impl Quoted {
    fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
        for piece in bytes.chunks(PIECE) {
            for &byte in piece {
                self.byte(byte);
            }
            if !self.out.is_empty() {
                out(&self.out)?;
                self.out.clear();
            }
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) {
        if !self.pending.is_empty() {
            return self.escaped(byte);
        }
        match byte {
            b'=' => {
                self.out.append(&mut self.blanks);
                self.pending.push(byte);
            }
            b' ' | b'\t' if self.blanks.len() < MAX_BLANKS => self.blanks.push(byte),
            b'\r' | b'\n' => {
                self.blanks.clear();
                self.out.push(byte);
            }
            _ => {
                self.out.append(&mut self.blanks);
                self.out.push(byte);
            }
        }
    }

    fn escaped(&mut self, byte: u8) {
        self.pending.push(byte);
        match *self.pending.as_slice() {
            [_, .., b'\n'] => self.pending.clear(),
            [_, b'\r' | b' ' | b'\t', ..] if self.pending.len() < MAX_BLANKS && byte <= b' ' => {}
            [_, b] if b.is_ascii_hexdigit() => {}
            [_, high, low] if hex::decode_pair(&[high, low]).is_some() => {
                self.out.extend(hex::decode_pair(&[high, low]));
                self.pending.clear();
            }
            // No escape at all: content as it stands, the byte at hand read anew.
            _ => {
                self.pending.pop();
                self.out.append(&mut self.pending);
                self.byte(byte);
            }
        }
    }

    fn finish(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        if self.pending.len() > 1 {
            self.out.append(&mut self.pending);
        }
        if self.out.is_empty() { Ok(()) } else { out(&self.out) }
    }
}
