//! CMS layers, decided by their object identifier (RFC 5652, 5083, 3274, 8551).

mod cipher;
mod compressed;
mod enveloped;
mod ghash;
mod key_agreement;
mod key_transport;
mod opaque;
mod recipients;

use crate::{
    ber::{Action, Parser, Tag, Visitor, oid, read::definite},
    fault::Fault,
    gather::Gather,
    layer::EntityPosition,
    mime::{HeaderBlock, Transfer, header::Head},
    state::{DecodeFlow, End},
};

use compressed::Compressed;
use enveloped::Enveloped;
use opaque::Opaque;

/// One CMS layer on its way.
pub(crate) struct Cms {
    armour: Armour,
    parser: Parser,
    machine: Machine,
}

/// What is around the BER.
enum Armour {
    /// Not a byte but blanks has come.
    Unknown,
    /// In a PEM line.
    PemLine,
    /// In a MIME header that was written into the body too.
    Stray(HeaderBlock),
    Binary,
    Base64(Transfer),
}

/// Follows the structure and hands its pieces to the layer.
struct Machine {
    place: EntityPosition,
    doubt: LayerDoubt,
    layer: Layer,
    /// Elements seen at the level of the layer's own fields.
    fields: usize,
    content_seen: bool,
    /// Small segments of the content.
    gather: Gather,
}

/// What may make it a document instead of a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LayerDoubt {
    /// Nothing, or it is decided.
    None,
    /// It has a document's name: anything but an envelope for us and a compression.
    Name,
    /// As `Name`, but an envelope for others is a layer too.
    NameOfEntity,
}

enum Layer {
    Unknown,
    Enveloped(Box<Enveloped>),
    Opaque(Box<Opaque>),
    Compressed(Box<Compressed>),
}

struct Walk<'a, 'b> {
    machine: &'a mut Machine,
    flow: &'a mut DecodeFlow<'b>,
}

/// Bytes of structure around the content: recipients, certificates, signers.
const MAX_STRUCTURE: usize = 256 * 1024;

/// What an element costs, however short it is, in bytes of work.
const ELEMENT_WORK: usize = 64;

const NO_CMS: Fault = Fault::Malformed("the content declared as S/MIME is none");

// === impl Cms ===

impl Cms {
    pub(crate) fn new(place: EntityPosition) -> Self {
        Self {
            armour: Armour::Unknown,
            parser: Parser::new(MAX_STRUCTURE),
            machine: Machine {
                place,
                doubt: LayerDoubt::None,
                layer: Layer::Unknown,
                fields: 0,
                content_seen: false,
                gather: Gather::default(),
            },
        }
    }

    /// Under the name of a document: it is a layer if it is compressed, or an envelope for one of our
    /// keys, or, `declared` as the whole message, for anyone's. Otherwise it fails by
    /// [`Fault::NoLayer`].
    pub(crate) fn doubtful(place: EntityPosition, declared: bool) -> Self {
        let mut cms = Self::new(place);
        let is_message = declared && place.depth == 0;
        cms.machine.doubt = if is_message { LayerDoubt::NameOfEntity } else { LayerDoubt::Name };
        cms
    }

    /// Whether it is decided that it is a layer.
    pub(crate) fn is_layer(&self) -> bool {
        self.machine.doubt == LayerDoubt::None
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let pushed = self.unarmour(bytes, flow);
        pushed.map_err(|fault| self.machine.fail(fault, flow))
    }

    /// No more bytes come: reads those that the encoding holds back.
    pub(crate) fn flush(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let flushed = self.flush_armour(flow);
        flushed.map_err(|fault| self.machine.fail(fault, flow))
    }

    fn unarmour(&mut self, mut bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        loop {
            match &mut self.armour {
                Armour::Binary => {
                    let mut walk = Walk { machine: &mut self.machine, flow };
                    return self.parser.push(bytes, &mut walk);
                }
                Armour::Base64(transfer) => {
                    let mut walk = Walk { machine: &mut self.machine, flow };
                    let parser = &mut self.parser;
                    return transfer.push(bytes, &mut |decoded| parser.push(decoded, &mut walk));
                }
                Armour::PemLine => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(()) };
                    bytes = &bytes[end + 1..];
                    self.armour = Armour::Unknown;
                }
                Armour::Stray(block) => match block.push(bytes)? {
                    (None, _) => return Ok(()),
                    (Some(Head::Missing { .. }), _) => return Err(NO_CMS),
                    (Some(Head::Block { .. }), rest) => {
                        bytes = rest;
                        self.armour = Armour::Unknown;
                    }
                },
                Armour::Unknown => {
                    bytes = bytes.trim_ascii_start();
                    self.armour = match bytes.first() {
                        None => return Ok(()),
                        Some(0x30) => Armour::Binary,
                        Some(b'M') => Armour::Base64(Transfer::base64()),
                        Some(b'-') => Armour::PemLine,
                        Some(byte) if byte.is_ascii_alphabetic() => {
                            let limit = flow.state.options.limits.header;
                            Armour::Stray(HeaderBlock::new(limit))
                        }
                        Some(_) => return Err(NO_CMS),
                    };
                }
            }
        }
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let finished = self.close(end, flow);
        finished.map_err(|fault| self.machine.fail(fault, flow))
    }

    fn flush_armour(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Armour::Base64(transfer) = &mut self.armour else { return Ok(()) };
        let mut walk = Walk { machine: &mut self.machine, flow };
        let parser = &mut self.parser;
        transfer.finish(&mut |decoded| parser.push(decoded, &mut walk))
    }

    fn close(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        self.flush_armour(flow)?;
        let complete = self.parser.is_done();
        let end = if complete { end } else { End::Cut };
        self.machine.flush(flow)?;
        match &mut self.machine.layer {
            Layer::Unknown => {}
            Layer::Enveloped(layer) => layer.finish(end, flow)?,
            Layer::Opaque(layer) => layer.finish(end, flow)?,
            Layer::Compressed(layer) => layer.finish(end, flow)?,
        }
        if end == End::Whole && !self.machine.content_seen {
            return Err(Fault::Malformed("the CMS layer has no content"));
        }
        if complete { Ok(()) } else { Err(Fault::Truncated) }
    }
}

// === impl Layer ===

impl Layer {
    fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self {
            Self::Enveloped(layer) => layer.push(bytes, flow),
            Self::Opaque(layer) => layer.push(bytes, flow),
            Self::Compressed(layer) => layer.push(bytes, flow),
            Self::Unknown => Ok(()),
        }
    }
}

// === impl Machine ===

impl Machine {
    fn flush(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { gather, layer, .. } = self;
        gather.flush(&mut |bytes| layer.push(bytes, flow))
    }

    /// The layer failed, or is none.
    fn fail(&mut self, fault: Fault, flow: &mut DecodeFlow<'_>) -> Fault {
        if self.doubt != LayerDoubt::None && !flow.state.is_stopped() {
            return Fault::NoLayer;
        }
        // What stood in it and could not be seen is unknown.
        match &mut self.layer {
            Layer::Unknown => {
                flow.state.facts.hidden = true;
                flow.state.facts.unknown = true;
            }
            Layer::Enveloped(layer) => layer.abandon(&fault, flow),
            Layer::Opaque(_) => {}
            Layer::Compressed(layer) => layer.abandon(&fault, flow),
        }
        fault
    }

    fn open(&mut self, id: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let is_envelope = id == oid::ENVELOPED_DATA || id == oid::AUTH_ENVELOPED_DATA;
        match self.doubt {
            LayerDoubt::NameOfEntity if is_envelope => self.doubt = LayerDoubt::None,
            LayerDoubt::Name | LayerDoubt::NameOfEntity if id == oid::COMPRESSED_DATA => {
                self.doubt = LayerDoubt::None;
            }
            LayerDoubt::Name if is_envelope => {}
            LayerDoubt::Name | LayerDoubt::NameOfEntity => return Err(Fault::NoLayer),
            LayerDoubt::None => {}
        }
        self.layer = match id {
            oid::ENVELOPED_DATA => {
                Layer::Enveloped(Box::new(Enveloped::new(self.place, false, flow)))
            }
            oid::AUTH_ENVELOPED_DATA => {
                Layer::Enveloped(Box::new(Enveloped::new(self.place, true, flow)))
            }
            oid::SIGNED_DATA => Layer::Opaque(Box::new(Opaque::new(self.place, flow))),
            oid::COMPRESSED_DATA => Layer::Compressed(Box::new(Compressed::new(self.place, flow))),
            _ => return Err(Fault::Malformed("the S/MIME content is of an unknown kind")),
        };
        Ok(())
    }

    /// A field of the layer itself.
    fn field(&mut self, tag: Tag) -> Action {
        self.fields += 1;
        let first_set = !self.content_seen && tag == Tag::SET;
        match (&self.layer, tag) {
            // CompressedData has its algorithm before the content's SEQUENCE.
            (Layer::Compressed(_), Tag::SEQUENCE) if self.fields == 2 => Action::Capture,
            (_, Tag::SEQUENCE) if !self.content_seen => Action::Enter,
            (Layer::Enveloped(_), _) if first_set => Action::Capture,
            (Layer::Enveloped(_), tag) if self.content_seen => {
                if tag.is_context(1) || tag.is_octet_string() {
                    Action::Capture
                } else {
                    Action::Skip
                }
            }
            (Layer::Opaque(_), Tag::SET) => Action::Capture,
            (Layer::Opaque(_), tag) if tag.is_context(0) && self.content_seen => Action::Capture,
            _ => Action::Skip,
        }
    }

    fn captured(&mut self, tag: Tag, raw: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let element = definite(raw)?;
        match &mut self.layer {
            Layer::Enveloped(layer) => layer.captured(tag, &element),
            Layer::Opaque(layer) => layer.captured(tag, &element, self.content_seen, flow),
            Layer::Compressed(layer) => layer.captured(&element),
            Layer::Unknown => Ok(()),
        }
    }

    fn begin_content(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.content_seen, true) {
            return Err(Fault::Malformed("the CMS layer has its content twice"));
        }
        match &mut self.layer {
            Layer::Enveloped(layer) => {
                let begun = layer.begin(flow);
                if !matches!(begun, Err(Fault::NoKey | Fault::NoRecipient)) {
                    self.doubt = LayerDoubt::None;
                }
                begun
            }
            Layer::Opaque(_) | Layer::Compressed(_) | Layer::Unknown => Ok(()),
        }
    }
}

// === impl Walk ===

impl Visitor for Walk<'_, '_> {
    fn element(&mut self, depth: usize, tag: Tag) -> Result<Action, Fault> {
        self.flow.work(ELEMENT_WORK)?;
        let machine = &mut *self.machine;
        let is_known = !matches!(machine.layer, Layer::Unknown);
        let unexpected = Err(Fault::Malformed("the CMS structure is not as it must be"));
        match depth {
            0 if tag == Tag::SEQUENCE => Ok(Action::Enter),
            1 if tag == Tag::OID && !is_known => Ok(Action::Capture),
            1 if is_known && tag.is_context(0) => Ok(Action::Enter),
            2 if tag == Tag::SEQUENCE => Ok(Action::Enter),
            3 => Ok(machine.field(tag)),
            4 if tag == Tag::OID => Ok(Action::Skip),
            4 if tag == Tag::SEQUENCE => Ok(Action::Capture),
            4 if tag.is_context(0) => {
                if matches!(machine.layer, Layer::Enveloped(_)) {
                    machine.begin_content(self.flow)?;
                    Ok(Action::Stream)
                } else {
                    Ok(Action::Enter)
                }
            }
            5 if tag.is_octet_string() => {
                machine.begin_content(self.flow)?;
                Ok(Action::Stream)
            }
            _ => unexpected,
        }
    }

    fn captured(&mut self, depth: usize, tag: Tag, raw: Vec<u8>) -> Result<(), Fault> {
        if depth == 1 {
            // An OBJECT IDENTIFIER is primitive: two octets of header.
            return self.machine.open(raw.get(2..).unwrap_or_default(), self.flow);
        }
        self.machine.captured(tag, &raw, self.flow)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Machine { gather, layer, .. } = &mut *self.machine;
        gather.push(bytes, &mut |bytes| layer.push(bytes, self.flow))
    }

    fn end_of_stream(&mut self) -> Result<(), Fault> {
        self.machine.flush(self.flow)?;
        match &mut self.machine.layer {
            Layer::Enveloped(layer) => layer.end_of_content(self.flow),
            Layer::Opaque(layer) => layer.end_of_content(self.flow),
            Layer::Compressed(layer) => layer.end_of_content(self.flow),
            Layer::Unknown => Ok(()),
        }
    }
}
