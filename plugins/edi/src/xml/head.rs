//! The beginning of an XML document.

use quick_xml::{
    NsReader,
    escape::{resolve_predefined_entity, unescape},
    events::{BytesStart, Event},
    name::ResolveResult,
};

use crate::{Party, XmlRoot, elements::cut};

/// What the beginning says.
pub(super) struct XmlHead {
    pub(super) root: XmlRoot,
    /// As it is written, with its prefix.
    pub(super) qualified_name: String,
    /// `<root/>`.
    pub(super) is_empty: bool,
    pub(super) sbdh: Option<Sbdh>,
}

/// A Standard Business Document Header.
#[derive(Default)]
pub(super) struct Sbdh {
    pub(super) header_version: Option<String>,
    pub(super) sender: Option<Party>,
    pub(super) receiver: Option<Party>,
    pub(super) document_type: Option<String>,
    pub(super) type_version: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) created: Option<String>,
    /// The root of the business document behind it.
    pub(super) business: Option<XmlRoot>,
}

const NAMESPACE: &[u8] = b"http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader";
const HEADER: &str = "StandardBusinessDocumentHeader";
/// Elements within each other that matter, the header's among them.
const MAX_DEPTH: usize = 16;

// === impl XmlHead ===

impl XmlHead {
    /// `None`: no root element stands in the text. Entities of a DTD are never expanded.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut reader = NsReader::from_str(text);
        loop {
            let event = reader.read_event().ok()?;
            let is_empty = matches!(event, Event::Empty(_));
            let (Event::Start(root) | Event::Empty(root)) = event else {
                let is_before_root = match &event {
                    Event::Text(text) => text.trim_ascii().is_empty(),
                    Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => true,
                    _ => false,
                };
                if is_before_root {
                    continue;
                }
                return None;
            };
            let qualified_name = std::str::from_utf8(root.name().into_inner()).ok()?.to_owned();
            if !is_name(&qualified_name) {
                return None;
            }
            let root = name_of(&reader, &root);
            let is_sbd = root.namespace.as_deref().map(str::as_bytes) == Some(NAMESPACE);
            let is_sbd =
                is_sbd && matches!(root.root.as_str(), "StandardBusinessDocument" | HEADER);
            let sbdh = (is_sbd && !is_empty).then(|| Sbdh::read(&mut reader, &root.root));
            return Some(Self { root, qualified_name, is_empty, sbdh });
        }
    }
}

// === impl Sbdh ===

impl Sbdh {
    /// Behind the start of the root. What is damaged or too long ends it.
    fn read(reader: &mut NsReader<&[u8]>, root: &str) -> Self {
        let mut sbdh = Self::default();
        let has_business = root != HEADER;
        let mut path = vec![root.to_owned()];
        let mut text = String::new();
        while let Ok(event) = reader.read_event() {
            match event {
                Event::Start(element) => {
                    let name = name_of(reader, &element);
                    if has_business && path.len() == 1 && name.root != HEADER {
                        sbdh.business = Some(name);
                        break;
                    }
                    path.push(name.root);
                    if path.len() > MAX_DEPTH {
                        break;
                    }
                    text.clear();
                    sbdh.open(&path, &element);
                }
                Event::Empty(element) if has_business && path.len() == 1 => {
                    sbdh.business = Some(name_of(reader, &element));
                    break;
                }
                Event::Text(part) => text.push_str(&part.decode().unwrap_or_default()),
                Event::CData(part) => text.push_str(&part.decode().unwrap_or_default()),
                Event::GeneralRef(reference) => {
                    let name = reference.decode().unwrap_or_default();
                    match reference.resolve_char_ref() {
                        Ok(Some(character)) => text.push(character),
                        _ => text.push_str(resolve_predefined_entity(&name).unwrap_or_default()),
                    }
                }
                Event::End(_) => {
                    sbdh.close(&path, text.trim());
                    text.clear();
                    path.pop();
                    if path.is_empty() {
                        break;
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        sbdh
    }

    /// Sender and Receiver may come several times, and so may their identifiers: the first counts.
    fn open(&mut self, path: &[String], element: &BytesStart<'_>) {
        let party = match in_header(path).as_slice() {
            ["Sender", "Identifier"] => &mut self.sender,
            ["Receiver", "Identifier"] => &mut self.receiver,
            _ => return,
        };
        if party.is_none() {
            let authority = element.try_get_attribute("Authority").ok().flatten();
            let qualifier = authority.and_then(|attribute| {
                let value = std::str::from_utf8(&attribute.value).ok()?;
                Some(cut(&unescape(value).ok()?).to_owned()).filter(|value| !value.is_empty())
            });
            *party = Some(Party { qualifier, id: None });
        }
    }

    fn close(&mut self, path: &[String], text: &str) {
        let field = match in_header(path).as_slice() {
            ["HeaderVersion"] => &mut self.header_version,
            ["Sender", "Identifier"] => &mut self.sender.get_or_insert_default().id,
            ["Receiver", "Identifier"] => &mut self.receiver.get_or_insert_default().id,
            ["DocumentIdentification", "Type"] => &mut self.document_type,
            ["DocumentIdentification", "TypeVersion"] => &mut self.type_version,
            ["DocumentIdentification", "InstanceIdentifier"] => &mut self.instance,
            ["DocumentIdentification", "CreationDateAndTime"] => &mut self.created,
            _ => return,
        };
        if field.is_none() && !text.is_empty() {
            *field = Some(cut(text).to_owned());
        }
    }
}

/// The names below the header, which may be the root itself.
fn in_header(path: &[String]) -> Vec<&str> {
    let header = path.iter().take(2).position(|name| name == HEADER);
    header.map(|at| path[at + 1..].iter().map(String::as_str).collect()).unwrap_or_default()
}

fn name_of(reader: &NsReader<&[u8]>, element: &BytesStart<'_>) -> XmlRoot {
    let (namespace, local_name) = reader.resolver().resolve_element(element.name());
    let namespace = match namespace {
        ResolveResult::Bound(namespace) if !namespace.into_inner().is_empty() => {
            Some(namespace.into_inner())
        }
        _ => None,
    };
    XmlRoot::new(local_name.into_inner(), namespace)
}

/// Whether it may be a name (XML 1.0 section 2.3), as far as texts in angle brackets are not.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '·'))
}
