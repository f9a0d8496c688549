//! The parser's events become a tree, as far as they can.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Marker, ScalarStyle, Span};

use super::{
    super::mistake::{ConfigPath, Position},
    Entry, Node, NodeKind, SyntaxError,
};

/// Nesting of any sense ends long before.
const DEEPEST: usize = 32;
/// Nodes that aliases may add, so that a few lines cannot fill the memory.
const ALIASED: usize = 1_000_000;

/// What the events so far come to.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<OpenNode>,
    pub(super) root: Option<Rc<Node>>,
    documents: usize,
    /// What aliases stand for, with the number of its nodes.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    aliased: usize,
    pub(super) flaws: Vec<SyntaxError>,
}

/// A sequence or mapping whose end has not come.
struct OpenNode {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Rc<Node>>),
    Mapping { entries: Vec<Entry>, seen: Seen, key: Option<Key> },
}

/// Finds a key again. Most mappings are so small that a look at each entry is faster.
#[derive(Default)]
struct Seen(HashMap<Rc<str>, Position>);

struct Key {
    text: Rc<str>,
    at: Position,
    /// Reported already: its value is read over.
    dropped: bool,
}

// === impl Seen ===

impl Seen {
    /// Where this key stands already.
    fn find(&mut self, key: &str, entries: &[Entry]) -> Option<Position> {
        const SMALL: usize = 24;
        if entries.len() < SMALL {
            return entries.iter().find(|entry| *entry.key == *key).map(|entry| entry.key_at);
        }
        // No two entries have the same key, so its size says how far it has come.
        let new = &entries[self.0.len()..];
        self.0.extend(new.iter().map(|entry| (entry.key.clone(), entry.key_at)));
        self.0.get(key).copied()
    }
}

// === impl Builder ===

impl Builder {
    /// `None`: there is no sense in reading on.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.flaw(at, "a second document begins here; only one may stand in a file");
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(at, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                // Nothing was written: point at the key rather than at whatever comes next.
                let at = if text.is_empty() && plain { self.key_at().unwrap_or(at) } else { at };
                self.node(Node::new(at, NodeKind::Scalar { text: text.into(), plain }), anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(at, tag.is_some());
                self.open(at, anchor, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(at, tag.is_some());
                let (entries, seen) = (Vec::new(), Seen::default());
                self.open(at, anchor, Content::Mapping { entries, seen, key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let OpenNode { at, anchor, content } = self.open.pop()?;
                let kind = match content {
                    Content::Sequence(items) => NodeKind::Sequence(items),
                    Content::Mapping { entries, .. } => NodeKind::Mapping(entries),
                };
                self.node(Node::new(at, kind), anchor);
            }
            Event::Alias(anchor) => self.alias(at, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Option<()> {
        if self.open.len() == DEEPEST {
            self.flaw(at, format!("is nested more than {DEEPEST} levels deep"));
            return None;
        }
        if self.awaits_key() {
            self.flaw(at, "a key must be text, not a list or a mapping");
            return None;
        }
        self.open.push(OpenNode { at, anchor, content });
        Some(())
    }

    fn alias(&mut self, at: Position, anchor: usize) -> Option<()> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            self.flaw(at, "this alias stands inside of what it stands for");
            return None;
        };
        if self.awaits_key() {
            self.flaw(at, "a key must be written out; an alias cannot stand for it");
            return None;
        }
        self.aliased += size;
        if self.aliased > ALIASED {
            self.flaw(at, format!("the aliases up to here stand for more than {ALIASED} values"));
            return None;
        }
        let node = node.clone();
        self.node(node, 0);
        Some(())
    }

    /// Puts a finished node to where it belongs.
    fn node(&mut self, node: Rc<Node>, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), node.count()));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, key: key @ Some(_), .. }) => {
                if let Some(Key { text, at, dropped: false }) = key.take() {
                    entries.push(Entry { key: text, key_at: at, value: node });
                }
            }
            Some(Content::Mapping { .. }) => self.key(&node),
        }
    }

    fn key(&mut self, node: &Node) {
        let NodeKind::Scalar { text, plain } = &node.kind else { return };
        let (text, plain): (Rc<str>, _) = (text.as_str().into(), *plain);
        let at = node.at;
        let Some(Content::Mapping { entries, key, seen }) =
            self.open.last_mut().map(|o| &mut o.content)
        else {
            return;
        };
        let merge = plain && &*text == "<<";
        let first = if merge { None } else { seen.find(&text, entries) };
        let dropped = merge || first.is_some();
        *key = Some(Key { text, at, dropped });
        if let Some(first) = first {
            self.flaw(at, format!("this key is given twice; the first one stands at {first}"));
        } else if merge {
            self.flaw(at, "merge keys (`<<`) are not supported; write the keys out");
        }
    }

    fn tag(&mut self, at: Position, there: bool) {
        if there {
            self.flaw(at, "tags (`!…`) are not supported; leave it out");
        }
    }

    fn awaits_key(&self) -> bool {
        let last = self.open.last().map(|open| &open.content);
        matches!(last, Some(Content::Mapping { key: None, .. }))
    }

    fn key_at(&self) -> Option<Position> {
        match &self.open.last()?.content {
            Content::Mapping { key: Some(key), .. } => Some(key.at),
            Content::Mapping { .. } | Content::Sequence(_) => None,
        }
    }

    pub(super) fn flaw(&mut self, at: Position, message: impl Into<String>) {
        let mut path = ConfigPath::default();
        for open in &self.open {
            path = match &open.content {
                Content::Sequence(items) => path.index(items.len()),
                Content::Mapping { key: Some(key), .. } => path.key(&*key.text),
                Content::Mapping { key: None, .. } => path,
            };
        }
        let path = path.to_string();
        self.flaws.push(SyntaxError { at, path, message: message.into() });
    }
}

pub(super) fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}
