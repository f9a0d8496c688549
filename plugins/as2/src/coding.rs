//! Content codings of HTTP (RFC 9110 section 8.4), taken off a body within bounds.

use flate2::Decompress;

use crate::{
    fault::Fault,
    headers::Headers,
    inflate::{Inflater, Output},
    state::DecodeFlow,
};

/// The codings of one body on its way.
pub(crate) struct ContentCodings {
    /// The one that was applied last comes first.
    codings: Vec<Coding>,
}

/// One coding on its way.
struct Coding {
    format: CodingFormat,
    /// What is taken off; `None` before its first bytes are there.
    stream: Option<Inflater>,
    /// The first bytes, while they do not say enough.
    first: Vec<u8>,
    /// What comes now is padding.
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CodingFormat {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 alone, as some servers send it.
    Deflate,
}

/// Codings of one body; real ones have one.
const MAX_CODINGS: usize = 4;
/// What one more gzip member costs, in bytes of work: its window is made anew.
const MEMBER_WORK: usize = 32 * 1024;
/// Characters of a coding's name that an error repeats.
const NAME: usize = 64;
/// Bytes that tell a zlib header from a deflated block.
const ZLIB_HEADER: usize = 2;
/// How a gzip member begins.
const GZIP: u8 = 0x1f;

// === impl ContentCodings ===

impl ContentCodings {
    /// Those that `Content-Encoding` names, in all its fields.
    pub(crate) fn of(headers: &Headers) -> Result<Self, Fault> {
        let mut codings = Vec::new();
        let fields = headers.all("content-encoding");
        let names = fields.flat_map(|value| value.split(|&byte| byte == b','));
        for name in names.map(<[u8]>::trim_ascii) {
            let Some(format) = CodingFormat::named(name)? else { continue };
            if codings.len() == MAX_CODINGS {
                let limit = MAX_CODINGS as u64;
                return Err(Fault::Limit { what: "content codings", limit });
            }
            codings.insert(0, Coding { format, stream: None, first: Vec::new(), is_over: false });
        }
        Ok(Self { codings })
    }

    /// Whether the body is as it is.
    pub(crate) fn is_empty(&self) -> bool {
        self.codings.is_empty()
    }

    /// Whether there is more than one.
    pub(crate) fn is_unusual(&self) -> bool {
        self.codings.len() > 1
    }

    /// Takes the codings off the next bytes.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        flow: &mut DecodeFlow<'_>,
        out: &mut Output<'_>,
    ) -> Result<(), Fault> {
        take_off(&mut self.codings, bytes, flow, out)
    }

    /// The body is complete: so has to be what the codings give. An empty body is coded by none.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        let is_over = |coding: &Coding| match &coding.stream {
            Some(stream) => stream.is_over(),
            None => coding.first.is_empty(),
        };
        let open = self.codings.iter().find(|coding| !is_over(coding));
        open.map_or(Ok(()), |coding| Err(Fault::DamagedCoding(coding.format.name())))
    }
}

fn take_off(
    codings: &mut [Coding],
    bytes: &[u8],
    flow: &mut DecodeFlow<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    match codings.split_first_mut() {
        None => out(bytes, flow),
        Some((last, others)) => {
            flow.work(bytes.len())?;
            let name = last.format.name();
            let taken =
                last.push(bytes, flow, &mut |bytes, flow| take_off(others, bytes, flow, out));
            taken.map_err(|fault| match fault {
                Fault::Inflate => Fault::DamagedCoding(name),
                fault => fault,
            })
        }
    }
}

// === impl Coding ===

impl Coding {
    fn push(
        &mut self,
        mut bytes: &[u8],
        flow: &mut DecodeFlow<'_>,
        out: &mut Output<'_>,
    ) -> Result<(), Fault> {
        let mut first = std::mem::take(&mut self.first);
        if self.stream.is_none() && self.format == CodingFormat::Deflate {
            let (begin, rest) = bytes.split_at(bytes.len().min(ZLIB_HEADER - first.len()));
            first.extend_from_slice(begin);
            bytes = rest;
            if first.len() < ZLIB_HEADER {
                self.first = first;
                return Ok(());
            }
            let stream = Decompress::new(is_zlib(&first));
            self.stream.insert(Inflater::new(stream)).push(&first, flow, out)?;
        }
        while let Some(&begin) = bytes.first()
            && !self.is_over
        {
            match &mut self.stream {
                Some(stream) if !stream.is_over() => bytes = stream.push(bytes, flow, out)?,
                // Behind the end there may be another member (RFC 1952 section 2.2).
                Some(_) if self.format == CodingFormat::Deflate || begin != GZIP => {
                    self.is_over = true;
                }
                stream => {
                    flow.work(MEMBER_WORK)?;
                    *stream = Some(Inflater::new(Decompress::new_gzip(15)));
                }
            }
        }
        Ok(())
    }
}

// === impl CodingFormat ===

impl CodingFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// `None`: it changes nothing.
    fn named(name: &[u8]) -> Result<Option<Self>, Fault> {
        // What belongs into Content-Transfer-Encoding, or behind `charset=`, stands here in some senders' heads.
        const NONE: [&[u8]; 11] = [
            b"",
            b"identity",
            b"none",
            b"7bit",
            b"8bit",
            b"binary",
            b"base64",
            b"quoted-printable",
            b"utf-8",
            b"us-ascii",
            b"iso-8859-1",
        ];
        match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            name if NONE.contains(&name) => Ok(None),
            _ => {
                let name = String::from_utf8_lossy(name);
                let shown = name.chars().filter(|c| !c.is_control()).take(NAME).collect();
                Err(Fault::Coding(shown))
            }
        }
    }
}

/// RFC 1950 section 2.2. A deflated block never begins so, but with bits set that mean nothing.
fn is_zlib(first: &[u8]) -> bool {
    let [cmf, flg] = [0, 1].map(|at| u16::from(first.get(at).copied().unwrap_or_default()));
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && ((cmf << 8) | flg).is_multiple_of(31)
}
