//! YAML into a tree in which every node knows its line and column.
//!
//! What a tree is judged by comes later ([`super::read`]); here stands what makes it no tree at
//! all: broken syntax, keys given twice, several documents, and bounds against hostile nesting and
//! alias bombs. Values stay text: what a plain `off` or `0012` means depends on the key it stands at.

mod builder;

use std::rc::Rc;

use saphyr_parser::Parser;

use self::builder::{Builder, position};
use super::mistake::Position;

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

/// A mistake whose file the caller knows.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) path: String,
    pub(crate) message: String,
}

/// Parses one document. `None` when it could not be read to its end; the flaws say why.
///
/// An empty file is an empty mapping.
pub(crate) fn parse(text: &str) -> (Option<Rc<Node>>, Vec<SyntaxError>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if builder.take(event, span).is_none() {
                    return (None, builder.flaws);
                }
            }
            Err(error) => {
                let message = format!("this is not YAML: {}", error.info());
                builder.flaw(position(*error.marker()), message);
                return (None, builder.flaws);
            }
        }
    }
    let empty = || Node::new(Position::START, NodeKind::Mapping(Vec::new()));
    (Some(builder.root.unwrap_or_else(empty)), builder.flaws)
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
