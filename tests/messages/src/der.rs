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

/// Tag and definite length.
pub fn header(tag: u8, length: u64) -> Vec<u8> {
    if length < 0x80 {
        return vec![tag, length as u8];
    }
    let bytes = length.to_be_bytes();
    let skip = bytes.iter().take_while(|b| **b == 0).count();
    let mut out = vec![tag, 0x80 | (8 - skip) as u8];
    out.extend(&bytes[skip..]);
    out
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(tag, content.len() as u64);
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
        let Some(size) = self.segment_size() else { return tlv(tag, content) };
        let segments: Vec<u8> = content.chunks(size).flat_map(|c| self.segment(c)).collect();
        self.open(tag | 0x20, &segments)
    }

    /// How many bytes a segment has. `None`: there are none.
    pub fn segment_size(self) -> Option<usize> {
        match self {
            Self::Der => None,
            Self::Ber(size) | Self::Nested(size) => Some(size),
        }
    }

    /// One segment of an octet string.
    pub fn segment(self, content: &[u8]) -> Vec<u8> {
        if let Self::Nested(_) = self {
            let (a, b) = content.split_at(content.len() / 2);
            return self.open(0x24, &[octets(a), self.open(0x24, &octets(b))].concat());
        }
        octets(content)
    }
}
