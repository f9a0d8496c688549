//! Writes DER, and BER with indefinite lengths and segments.

/// How to encode the outer structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Der,
    /// Indefinite lengths, octet strings in segments of this size.
    Ber(usize),
    /// As `Ber`, each segment itself constructed of two.
    Nested(usize),
}

pub fn length(n: usize) -> Vec<u8> {
    if n < 0x80 {
        return vec![n as u8];
    }
    let bytes = n.to_be_bytes();
    let skip = bytes.iter().take_while(|b| **b == 0).count();
    let mut out = vec![0x80 | (8 - skip) as u8];
    out.extend(&bytes[skip..]);
    out
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(length(content.len()));
    out.extend(content);
    out
}

pub fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

pub fn oid(content: &[u8]) -> Vec<u8> {
    tlv(6, content)
}

pub fn int(value: u8) -> Vec<u8> {
    tlv(2, &[value])
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    tlv(4, content)
}

pub const NULL: &[u8] = &[5, 0];

impl Encoding {
    /// A constructed element.
    pub fn open(self, tag: u8, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Der => tlv(tag, content),
            Self::Ber(_) | Self::Nested(_) => [&[tag, 0x80], content, &[0, 0]].concat(),
        }
    }

    /// An octet string of this primitive tag.
    pub fn string(self, tag: u8, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Der => tlv(tag, content),
            Self::Ber(size) => {
                let segments: Vec<u8> = content.chunks(size).flat_map(octets).collect();
                self.open(tag | 0x20, &segments)
            }
            Self::Nested(size) => {
                let segments: Vec<u8> = content
                    .chunks(size)
                    .flat_map(|c| {
                        let (a, b) = c.split_at(c.len() / 2);
                        self.open(0x24, &[octets(a), self.open(0x24, &octets(b))].concat())
                    })
                    .collect();
                self.open(tag | 0x20, &segments)
            }
        }
    }
}
