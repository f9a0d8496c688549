//! Typed readers over the tree. Each takes what it needs, or notes a mistake at the node and goes
//! on, so that one load finds all of them.
//!
//! # Layout
//! - `table`: mappings whose keys are known
//! - `units`: sizes, durations and rates
//! - `network`: addresses, URLs and networks
//! - `hidden`: text that is never shown
//! - `suggest`: the word that was meant

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use super::{
    env,
    mistake::{ConfigDiagnostic, ConfigPath, Position},
    source::Context,
    tree::{self, Entry, Node, NodeKind},
};

mod hidden;
mod network;
mod suggest;
mod table;
mod units;

pub use self::hidden::SecretString;
pub(crate) use self::table::Table;

/// A file that is being judged.
#[derive(Clone, Copy)]
pub(crate) struct SourceFile<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) file: &'a Path,
}

/// A node, and how it is reached.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    source: SourceFile<'a>,
    node: &'a Node,
    path: ConfigPath<'a>,
}

// === impl SourceFile ===

impl SourceFile<'_> {
    fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(crate) fn root(source: SourceFile<'a>, node: &'a Node) -> Self {
        Self { source, node, path: ConfigPath::default() }
    }

    /// Notes a mistake here. Always `None`, so that a reader can end with it.
    pub(crate) fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.source.context.mistake(self.here(message));
        None
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.source.context.warning(self.here(message));
    }

    pub(crate) fn here(&self, message: impl Into<String>) -> ConfigDiagnostic {
        ConfigDiagnostic::new(self.source.file, self.node.at, self.path.to_string(), message)
    }

    /// What the environment says.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.source.context.variables)(name).ok()
    }

    pub(crate) fn at(&self) -> Position {
        self.node.at
    }

    /// A mapping whose keys the user makes up, in order: key, its place, value.
    pub(crate) fn free_table(&self) -> Option<Vec<(&'a str, Value<'a>)>> {
        match &self.node.kind {
            NodeKind::Mapping(entries) => {
                let value = |entry: &'a Entry| (entry.key.as_str(), self.child(entry));
                Some(entries.iter().map(value).collect())
            }
            NodeKind::Scalar { .. } if self.is_null() => Some(Vec::new()),
            _ => self.wrong(format!("must be a mapping, not {}", self.node.describe())),
        }
    }

    /// A list. Nothing is an empty one.
    pub(crate) fn list(&self) -> Option<Vec<Value<'a>>> {
        match &self.node.kind {
            NodeKind::Sequence(items) => {
                let item = |(index, node)| Value {
                    source: self.source,
                    node,
                    path: self.path.index(index),
                };
                Some(items.iter().enumerate().map(item).collect())
            }
            NodeKind::Scalar { .. } if self.is_null() => Some(Vec::new()),
            _ => self.wrong(format!("must be a list, not {}", self.node.describe())),
        }
    }

    /// A list, or one of its items alone.
    pub(crate) fn one_or_more(&self) -> Option<Vec<Value<'a>>> {
        match &self.node.kind {
            NodeKind::Sequence(_) => self.list(),
            _ => Some(vec![self.clone()]),
        }
    }

    /// Each item of a list by a reader; items with mistakes are left out.
    pub(crate) fn each<T>(&self, read: impl Fn(&Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        Some(self.list()?.iter().filter_map(read).collect())
    }

    /// Text with its variables put in. A plain number or `true` is none: YAML would not keep
    /// `0012` as it is either.
    pub(crate) fn text(&self) -> Option<String> {
        match (self.expanded()?, self.node.describe()) {
            (Cow::Owned(text), _) => Some(text),
            (Cow::Borrowed(text), "text") => Some(text.to_owned()),
            (_, "nothing") => self.wrong("has no value; leave the key out or give it one"),
            (_, other) => self.wrong(format!("must be text, not {other}; put quotes around it")),
        }
    }

    /// Text that is not empty and has no control characters.
    pub(crate) fn line(&self) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() {
            return self.wrong("must not be empty");
        }
        if text.chars().any(char::is_control) {
            return self.wrong("must not hold control characters or line breaks");
        }
        Some(text)
    }

    /// `true`, `false`, `on` or `off`.
    pub(crate) fn switch(&self) -> Option<bool> {
        let on_or_off = |text: &str| match text {
            "on" => Some(true),
            "off" => Some(false),
            _ => tree::switch(text),
        };
        let found = self.unquoted("true or false")?;
        match on_or_off(&found) {
            Some(value) => Some(value),
            None => self.wrong("must be true or false"),
        }
    }

    /// A whole number within these bounds.
    pub(crate) fn whole(&self, least: u64, most: u64) -> Option<u64> {
        let text = self.unquoted("a whole number")?;
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => self.wrong(format!("must be a whole number from {least} to {most}")),
        }
    }

    /// One of these words.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let NodeKind::Scalar { .. } = self.node.kind else {
            return self.wrong(format!("must be {}", one_of(words)));
        };
        let found = self.expanded()?;
        match words.iter().find(|(word, _)| *word == found) {
            Some((_, value)) => Some(*value),
            None => {
                let hint = suggest::hint(&found, words.iter().map(|(word, _)| *word));
                self.wrong(format!("must be {}{hint}", one_of(words)))
            }
        }
    }

    /// A path, relative to the folder of the file it stands in.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let text = self.line()?;
        Some(self.resolve(&text))
    }

    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.source.resolve(path)
    }

    /// A file's bytes, and where they stand.
    pub(crate) fn file(&self) -> Option<(PathBuf, std::rc::Rc<[u8]>)> {
        let path = self.path()?;
        match self.source.context.read(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(what) => self.wrong(format!("{} {what}", path.display())),
        }
    }

    /// A secret that stands in a file of its own; the line break at its end does not belong to it.
    pub(crate) fn secret_file(&self) -> Option<SecretString> {
        let (path, bytes) = self.file()?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return self.wrong(format!("{} is not UTF-8", path.display()));
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return self.wrong(format!("{} is empty", path.display()));
        }
        Some(SecretString::from(text.to_owned()))
    }

    pub(crate) fn hidden(&self) -> Option<SecretString> {
        self.text().map(SecretString::from)
    }

    /// Where the value of a key within begins.
    pub(crate) fn child_at(&self, key: &str) -> Option<Position> {
        let NodeKind::Mapping(entries) = &self.node.kind else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.at)
    }

    /// Whether it is this text and nothing else.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.kind, NodeKind::Scalar { text, .. } if text == word)
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(&self.node.kind, NodeKind::Sequence(_))
    }

    fn is_null(&self) -> bool {
        self.node.describe() == "nothing"
    }

    fn child(&self, entry: &'a Entry) -> Value<'a> {
        Value { source: self.source, node: &entry.value, path: self.path.key(&entry.key) }
    }

    /// A scalar's text; owned when variables were put in.
    fn expanded(&self) -> Option<Cow<'a, str>> {
        let NodeKind::Scalar { text, .. } = &self.node.kind else {
            return self.wrong(format!("must be text, not {}", self.node.describe()));
        };
        match env::expand(text, self.source.context.variables) {
            Ok(text) => Some(text),
            Err(error) => self.wrong(error.to_string()),
        }
    }

    /// What must not be quoted text, unless it was made from variables.
    fn unquoted(&self, what: &str) -> Option<Cow<'a, str>> {
        match &self.node.kind {
            NodeKind::Scalar { plain, .. } => match self.expanded()? {
                Cow::Borrowed(_) if !plain => {
                    self.wrong(format!("must be {what}, not text; leave the quotes out"))
                }
                found => Some(found),
            },
            _ => self.wrong(format!("must be {what}, not {}", self.node.describe())),
        }
    }
}

fn one_of<T>(words: &[(&str, T)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
