//! OpenAS2's XML files as a tree. Entities are never declared or fetched: the five of XML and numbers are known.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// An element. Text in elements has no meaning in these files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct XmlElement {
    pub(super) name: String,
    pub(super) attributes: Attributes,
    pub(super) children: Vec<XmlElement>,
}

/// Names and values, in the order of the file.
pub(super) type Attributes = Vec<(String, String)>;

/// Why a file of OpenAS2 cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{} cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has more than {} MiB, and is not read", path.display(), MAX_BYTES >> 20)]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: {what}", path.display())]
    Malformed { path: PathBuf, line: usize, what: String },
    #[error("{} is not a file of OpenAS2: its root is <{found}>, not <{expected}>", path.display())]
    Root { path: PathBuf, found: String, expected: &'static str },
}

/// A config with ten thousand partnerships has a tenth of it.
const MAX_BYTES: u64 = 32 << 20;
/// OpenAS2's files have five.
const MAX_DEPTH: usize = 64;

// === impl XmlElement ===

impl XmlElement {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        attribute(&self.attributes, name)
    }

    pub(super) fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Whether it is on: OpenAS2 takes everything but `true` for off, and on where nothing is said.
    pub(super) fn is_enabled(&self) -> bool {
        self.attribute("enabled").is_none_or(|enabled| enabled.trim().eq_ignore_ascii_case("true"))
    }

    /// Changes the value of every attribute in the tree.
    pub(super) fn map_values(&mut self, change: &mut impl FnMut(&str) -> String) {
        self.attributes.iter_mut().for_each(|(_, value)| *value = change(value));
        self.children.iter_mut().for_each(|child| child.map_values(change));
    }
}

/// The value of an attribute.
pub(super) fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// Reads a file whose root has this name.
pub(super) fn read(path: &Path, root: &'static str) -> Result<XmlElement, SourceError> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8(bytes).unwrap_or_else(|error| latin1(error.as_bytes()));
    let found = parse(&text).map_err(|(offset, what)| {
        let before = text.bytes().take(offset);
        let line = 1 + before.filter(|byte| *byte == b'\n').count();
        SourceError::Malformed { path: path.to_owned(), line, what }
    })?;
    if found.name == root {
        Ok(found)
    } else {
        Err(SourceError::Root { path: path.to_owned(), found: found.name, expected: root })
    }
}

/// The bytes of a file, up to a limit.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// ISO-8859-1, the other character set of such files: each byte is its character.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The offset of a mistake, and what it is.
type Mistake = (usize, String);

fn parse(text: &str) -> Result<XmlElement, Mistake> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<XmlElement> = Vec::new();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event().map_err(|error| (at, error.to_string()))?;
        let closed = match event {
            Event::Start(start) if open.len() < MAX_DEPTH => {
                open.push(element(&start).map_err(|what| (at, what))?);
                continue;
            }
            Event::Start(_) => {
                return Err((at, format!("more than {MAX_DEPTH} elements within each other")));
            }
            Event::Empty(start) => element(&start).map_err(|what| (at, what))?,
            // The reader checks that it is the end of what is open.
            Event::End(_) => match open.pop() {
                Some(element) => element,
                None => continue,
            },
            Event::Eof => {
                return Err((at, "the file ends before its root element does".to_owned()));
            }
            _ => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(closed),
            None => return Ok(closed),
        }
    }
}

fn element(start: &BytesStart<'_>) -> Result<XmlElement, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let name = text(attribute.key.as_ref());
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|error| format!("the attribute {name}: {error}"))?;
        Ok((name, value.into_owned()))
    });
    let attributes = attributes.collect::<Result<_, String>>()?;
    Ok(XmlElement { name: text(start.name().as_ref()), attributes, children: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(text: impl AsRef<[u8]>) -> Result<XmlElement, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.xml");
        fs::write(&path, text).unwrap();
        let shown = folder.path().display().to_string();
        read(&path, "openas2").map_err(|error| error.to_string().replace(&shown, ""))
    }

    #[test]
    fn attributes_have_their_entities_resolved() {
        let root = read_text("<?xml version='1.0'?>\n<!-- a -->\n<openas2 a='1 &amp; &#50;'>t<b c=\"&lt;\"/></openas2>").unwrap();
        assert_eq!(root.attribute("a"), Some("1 & 2"));
        assert_eq!(root.children("b").next().unwrap().attribute("c"), Some("<"));
    }

    #[test]
    fn file_that_is_not_utf8_is_latin1() {
        let root = read_text(b"<openas2 a='M\xfcller'/>").unwrap();
        assert_eq!(root.attribute("a"), Some("M\u{fc}ller"));
    }

    #[test]
    fn external_entity_is_not_read() {
        let text =
            "<!DOCTYPE openas2 [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>\n<openas2 a='&x;'/>";
        let error = read_text(text).unwrap_err();
        assert!(
            error.starts_with("/config.xml:2: the attribute a: ") && error.contains("entity `x`"),
            "{error}"
        );
    }

    #[test]
    fn nested_entities_are_not_expanded() {
        let text = "<!DOCTYPE a [<!ENTITY x 'xx'><!ENTITY y '&x;&x;'>]><openas2 a='&y;'/>";
        assert!(read_text(text).is_err());
    }

    #[test]
    fn damage_is_reported_with_its_line() {
        for (text, expected) in [
            ("<openas2>\n<a>\n</openas2>", "/config.xml:3: "),
            ("<openas2>\n", "/config.xml:2: the file ends"),
            ("", "/config.xml:1: the file ends"),
            ("<html/>", "/config.xml is not a file of OpenAS2: its root is <html>"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(read_text(deep).unwrap_err().contains("more than 64 elements"));
    }

    #[test]
    fn file_over_the_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.xml");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read(&path, "openas2").unwrap_err().to_string().contains("more than 32 MiB"));
    }

    #[test]
    fn element_is_on_unless_something_else_than_true_is_said() {
        let enabled = |text: &str| read_text(text).unwrap().is_enabled();
        assert!(enabled("<openas2/>") && enabled("<openas2 enabled='TRUE'/>"));
        assert!(!enabled("<openas2 enabled='false'/>") && !enabled("<openas2 enabled=''/>"));
    }
}
