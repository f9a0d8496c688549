//! YAML into a tree in which every node knows its line and column.
//!
//! What a tree is judged by comes later ([`super::value`]); here stands what makes it no tree at
//! all: broken syntax, keys given twice, several documents, and bounds against hostile nesting and
//! alias bombs. Values stay text: what a plain `off` or `0012` means depends on the key it stands at.

use std::{
    collections::{HashMap, hash_map::Entry as Found},
    path::Path,
    rc::Rc,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::diagnostic::{ConfigDiagnostic, Position, index_path, key_path};

/// Nesting of any sense ends long before.
const DEEPEST: usize = 32;
/// Nodes that aliases may add, so that a few lines cannot fill the memory.
const ALIASED: usize = 1_000_000;

/// What is likely meant by what the parser says.
const HINTS: [(&str, &str); 5] = [
    (
        "mapping values",
        "look for a `:` in text without quotes, and for an indentation unlike that of the line before",
    ),
    ("simple key", "a `:` needs a blank behind it, here or in the line before"),
    ("quoted scalar", "is a quote missing at its end?"),
    ("unexpected character", "text that begins with it needs quotes"),
    ("flow", "text with braces, brackets or commas, such as `${…}`, needs quotes here"),
];

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: NodeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    /// `plain`: without quotes and not a block, so that `true` and `12` are not text.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

/// A key with its value. No mapping holds a key twice.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_at: Position,
    pub(crate) value: Rc<Node>,
}

/// Parses the one document of a file. `None` when it could not be read to its end; the flaws say why.
///
/// An empty file is an empty mapping.
pub(crate) fn parse(file: &Path, text: &str) -> (Option<Rc<Node>>, Vec<ConfigDiagnostic>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parser = Parser::new_from_str(text);
    let mut reader =
        TreeReader { file, text, parser, anchors: HashMap::new(), aliased: 0, flaws: Vec::new() };
    let root = reader.document();
    (root, reader.flaws)
}

/// Builds a tree of the parser's events.
struct TreeReader<'a> {
    file: &'a Path,
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// What aliases stand for, with the number of its nodes.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    aliased: usize,
    flaws: Vec<ConfigDiagnostic>,
}

/// The place of a node that is being read.
struct Site {
    path: String,
    depth: usize,
    /// Of the key, when it is a mapping's value.
    key_at: Option<Position>,
}

// === impl TreeReader ===

// `None` everywhere: there is no sense in reading on.
impl<'a> TreeReader<'a> {
    fn document(&mut self) -> Option<Rc<Node>> {
        let mut root = None;
        let site = Site { path: String::new(), depth: 0, key_at: None };
        loop {
            match self.next("")? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(_), at) if root.is_some() => {
                    let what = "a second document begins here; only one may stand in a file";
                    return self.stop(at, "", what);
                }
                (
                    Event::StreamStart
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
                    | Event::Nothing,
                    _,
                ) => {}
                (event, at) => root = Some(self.node(event, at, &site)?),
            }
        }
        root.or_else(|| Some(Node::new(Position::START, NodeKind::Mapping(Vec::new()))))
    }

    fn node(&mut self, event: Event<'a>, at: Position, site: &Site) -> Option<Rc<Node>> {
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.judge_tag(at, site, tag.as_deref());
                let plain = style == ScalarStyle::Plain;
                // Nothing was written: point at the key rather than at whatever comes next.
                let at = site.key_at.filter(|_| text.is_empty() && plain).unwrap_or(at);
                (Node::new(at, NodeKind::Scalar { text: text.into(), plain }), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.judge_tag(at, site, tag.as_deref());
                (Node::new(at, NodeKind::Sequence(self.items(at, site)?)), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.judge_tag(at, site, tag.as_deref());
                (Node::new(at, NodeKind::Mapping(self.entries(at, site)?)), anchor)
            }
            Event::Alias(anchor) => (self.alias(anchor, at, site)?, 0),
            _ => return None,
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), node.count()));
        }
        Some(node)
    }

    fn items(&mut self, at: Position, site: &Site) -> Option<Vec<Rc<Node>>> {
        let depth = self.deeper(at, site)?;
        let mut items = Vec::new();
        loop {
            let item = Site { path: index_path(&site.path, items.len()), depth, key_at: None };
            match self.next(&item.path)? {
                (Event::SequenceEnd, _) => return Some(items),
                (event, at) => items.push(self.node(event, at, &item)?),
            }
        }
    }

    fn entries(&mut self, at: Position, site: &Site) -> Option<Vec<Entry>> {
        let depth = self.deeper(at, site)?;
        let (mut entries, mut seen) = (Vec::new(), HashMap::<Rc<str>, Position>::new());
        loop {
            let (key, plain, key_at) = match self.next(&site.path)? {
                (Event::MappingEnd, _) => return Some(entries),
                (Event::Scalar(text, style, _, tag), at) => {
                    self.judge_tag(at, site, tag.as_deref());
                    (Rc::<str>::from(text), style == ScalarStyle::Plain, at)
                }
                (Event::Alias(_), at) => {
                    let what = "a key must be written out; an alias cannot stand for it";
                    return self.stop(at, &site.path, what);
                }
                (_, at) => {
                    let what = "a key must be text, not a list or a mapping";
                    return self.stop(at, &site.path, what);
                }
            };
            let value = Site { path: key_path(&site.path, &key), depth, key_at: Some(key_at) };
            let is_dropped = if plain && &*key == "<<" {
                let what = "merge keys (`<<`) are not supported; write the keys out";
                self.flaw(key_at, &value.path, what);
                true
            } else {
                match seen.entry(key.clone()) {
                    Found::Occupied(first) => {
                        let first = first.get();
                        let what =
                            format!("this key is given twice; the first one stands at {first}");
                        self.flaw(key_at, &value.path, what);
                        true
                    }
                    Found::Vacant(place) => {
                        place.insert(key_at);
                        false
                    }
                }
            };
            let (event, at) = self.next(&value.path)?;
            let value = self.node(event, at, &value)?;
            if !is_dropped {
                entries.push(Entry { key, key_at, value });
            }
        }
    }

    fn alias(&mut self, anchor: usize, at: Position, site: &Site) -> Option<Rc<Node>> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            return self.stop(at, &site.path, "this alias stands inside of what it stands for");
        };
        self.aliased += size;
        if self.aliased > ALIASED {
            let what = format!("the aliases up to here stand for more than {ALIASED} values");
            return self.stop(at, &site.path, what);
        }
        Some(node)
    }

    fn deeper(&mut self, at: Position, site: &Site) -> Option<usize> {
        if site.depth == DEEPEST {
            let what = format!("is nested more than {DEEPEST} levels deep");
            return self.stop(at, &site.path, what);
        }
        Some(site.depth + 1)
    }

    fn judge_tag(&mut self, at: Position, site: &Site, tag: Option<&Tag>) {
        if tag.is_some() {
            self.flaw(at, &site.path, "tags (`!…`) are not supported; leave it out");
        }
    }

    fn next(&mut self, path: &str) -> Option<(Event<'a>, Position)> {
        let position = |marker: Marker| Position { line: marker.line(), column: marker.col() + 1 };
        match self.parser.next_event()? {
            Ok((event, span)) => Some((event, position(span.start))),
            Err(error) => {
                let (at, what) = in_words(self.text, position(*error.marker()), error.info());
                self.stop(at, path, what)
            }
        }
    }

    fn stop<T>(&mut self, at: Position, path: &str, what: impl Into<String>) -> Option<T> {
        self.flaw(at, path, what);
        None
    }

    fn flaw(&mut self, at: Position, path: &str, what: impl Into<String>) {
        self.flaws.push(ConfigDiagnostic::new(self.file, at, path, what));
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn new(at: Position, kind: NodeKind) -> Rc<Self> {
        Rc::new(Self { at, kind })
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            NodeKind::Scalar { .. } => 0,
            NodeKind::Sequence(items) => items.iter().map(|item| item.count()).sum(),
            NodeKind::Mapping(entries) => entries.iter().map(|e| e.value.count()).sum(),
        }
    }

    /// What it is, for a sentence such as "must be text, not …".
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            NodeKind::Sequence(_) => "a list",
            NodeKind::Mapping(_) => "a mapping",
            NodeKind::Scalar { plain: false, .. } => "text",
            NodeKind::Scalar { text, .. } => match text.as_str() {
                text if is_null(text) => "nothing",
                text if switch(text).is_some() => "true or false",
                text if is_number(text) => "a number",
                _ => "text",
            },
        }
    }
}

/// The place and the words for what the parser says.
fn in_words(text: &str, at: Position, info: &str) -> (Position, String) {
    let mut lines = text.lines().enumerate().skip(at.line - 1);
    // It names the value before the tab.
    let tab = lines.clone().find_map(|(line, text)| {
        let indent = &text[..text.len() - text.trim_start().len()];
        Some(Position { line: line + 1, column: indent.find('\t')? + 1 })
    });
    let line = lines.next().map_or("", |(_, line)| line);
    let is_star = line.chars().nth(at.column - 1) == Some('*');
    let (at, info) = match tab {
        Some(tab) if info.contains("tab") => {
            (tab, "the indentation of this line has a tab; use blanks alone".to_owned())
        }
        _ if is_star && (info.contains("alias") || info.contains("anchor")) => (
            at,
            "a `*` without quotes begins an alias; put quotes around it, as in \"*\"".to_owned(),
        ),
        _ if line.contains('\t') => {
            (at, format!("{info}; there is a tab in this line, try blanks in its place"))
        }
        _ => match HINTS.iter().find(|(said, _)| info.contains(said)) {
            Some((_, hint)) => (at, format!("{info}; {hint}")),
            None => (at, info.to_owned()),
        },
    };
    (at, format!("this is not YAML: {info}"))
}

/// YAML 1.2's core schema.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.2's core schema: `yes` and `off` are text.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => true,
        _ if matches!(text, ".nan" | ".NaN" | ".NAN") => true,
        // Rust's own words for infinity are text in YAML.
        _ => {
            unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && unsigned.parse::<f64>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests;
