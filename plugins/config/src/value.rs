//! A value of a config file, and the place that a mistake in it is reported at.
//!
//! Its readers give what is asked for, or report a mistake and give nothing.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::Hash,
    ops::Deref,
    path::{Path, PathBuf},
    rc::Rc,
};

use as2hook_event::SecretString;
use strsim::osa_distance;

use super::{
    diagnostic::{ConfigDiagnostic, Position, index_path, key_path},
    env,
    plugins::Plugins,
    source::Context,
    tree::{self, Entry, Node, NodeKind},
};

/// A node, and how it is reached. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Value {
    source: Rc<SourceFile>,
    node: Rc<Node>,
    path: Rc<str>,
    /// The mapping or list that holds it.
    parent: Option<Rc<Self>>,
}

/// What stands in a file that the config names.
#[derive(Clone, Debug, Default)]
pub struct FromFile<T> {
    pub(crate) path: PathBuf,
    pub(crate) content: T,
}

struct SourceFile {
    context: Rc<Context>,
    file: PathBuf,
}

// === impl Value ===

impl Value {
    pub(crate) fn root(context: &Rc<Context>, file: &Path, node: Rc<Node>) -> Self {
        let source = SourceFile { context: context.clone(), file: file.to_owned() };
        Self { source: Rc::new(source), node, path: "".into(), parent: None }
    }

    /// Reports a mistake here. Always `None`, so that a reader can end with it.
    pub(crate) fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.source.context.mistake(self.here(message));
        None
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.source.context.warning(self.here(message));
    }

    pub(crate) fn here(&self, message: impl Into<String>) -> ConfigDiagnostic {
        ConfigDiagnostic::new(&self.source.file, self.node.at, &self.path, message)
    }

    pub(crate) fn at(&self) -> Position {
        self.node.at
    }

    /// What the environment says.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.source.context.variables)(name).ok()
    }

    /// What rules may name.
    pub(crate) fn plugins(&self) -> &Plugins {
        &self.source.context.plugins
    }

    /// Whether there is no mistake in it so far. One with a mistake counts as not given: its default says nothing.
    pub(crate) fn is_sound(&self) -> bool {
        !self.source.context.has_mistake(&self.source.file, &self.path)
    }

    /// How many mistakes all files have so far.
    pub(crate) fn mistakes(&self) -> usize {
        self.source.context.mistakes()
    }

    // --- mappings and lists ---

    /// The entries of a mapping, in order. Nothing is an empty one.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        self.entries_as_in("")
    }

    /// As [`Self::entries`]; with anything else it shows this mapping as an example.
    pub(crate) fn entries_as_in(&self, example: &str) -> Option<&[Entry]> {
        match &self.node.kind {
            NodeKind::Mapping(entries) => Some(entries),
            NodeKind::Scalar { .. } if self.is_null() => Some(&[]),
            _ => {
                let such_as = if example.is_empty() { "" } else { " such as " };
                let found = self.node.describe();
                self.wrong(format!("must be a mapping{such_as}{example}, not {found}"))
            }
        }
    }

    pub(crate) fn child(&self, entry: &Entry) -> Self {
        self.within(&entry.value, key_path(&self.path, &entry.key))
    }

    /// The value at this key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let NodeKind::Mapping(entries) = &self.node.kind else { return None };
        entries.iter().find(|entry| *entry.key == *key).map(|entry| self.child(entry))
    }

    /// The value at another key of the mapping that holds this one.
    pub(crate) fn sibling(&self, key: &str) -> Option<Self> {
        self.parent.as_ref()?.get(key)
    }

    /// The same mapping, with this text at a key that is not given.
    pub(crate) fn with_default(&self, key: &str, text: &str) -> Option<Self> {
        if self.get(key).is_some() {
            return Some(self.clone());
        }
        let at = self.node.at;
        let kind = NodeKind::Scalar { text: text.to_owned(), plain: false };
        let mut entries = self.entries()?.to_vec();
        entries.push(Entry { key: key.into(), key_at: at, value: Node::new(at, kind) });
        Some(Self { node: Node::new(at, NodeKind::Mapping(entries)), ..self.clone() })
    }

    /// The same mapping without a key.
    pub(crate) fn without(&self, key: &str) -> Self {
        let NodeKind::Mapping(entries) = &self.node.kind else { return self.clone() };
        let entries = entries.iter().filter(|entry| *entry.key != *key).cloned().collect();
        Self { node: Node::new(self.node.at, NodeKind::Mapping(entries)), ..self.clone() }
    }

    pub(crate) fn unknown_key(&self, entry: &Entry, keys: &[&str]) {
        let message = match hint(&entry.key, keys).as_str() {
            "" => format!("unknown key; the keys here are {}", keys.join(", ")),
            hint => format!("unknown key{hint}"),
        };
        let (file, path) = (&self.source.file, key_path(&self.path, &entry.key));
        self.source.context.mistake(ConfigDiagnostic::new(file, entry.key_at, &path, message));
    }

    /// A list. Nothing is an empty one.
    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        match &self.node.kind {
            NodeKind::Sequence(items) => {
                let item = |(at, node)| self.within(node, index_path(&self.path, at));
                Some(items.iter().enumerate().map(item).collect())
            }
            NodeKind::Scalar { .. } if self.is_null() => Some(Vec::new()),
            _ => self.wrong(format!("must be a list, not {}", self.node.describe())),
        }
    }

    /// A list, or one of its items alone.
    pub(crate) fn one_or_more(&self) -> Option<Vec<Self>> {
        if self.is_list() { self.list() } else { Some(vec![self.clone()]) }
    }

    /// Reports the items of this list that are not the first with their key.
    pub(crate) fn judge_unique<K: Eq + Hash>(
        &self,
        key: impl Fn(&Self) -> Option<K>,
        message: impl Fn(&K) -> String,
    ) {
        let mut seen = HashSet::new();
        for item in self.list().unwrap_or_default() {
            let Some(key) = key(&item) else { continue };
            if seen.contains(&key) {
                item.wrong::<()>(message(&key));
            }
            seen.insert(key);
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(&self.node.kind, NodeKind::Sequence(_))
    }

    fn within(&self, node: &Rc<Node>, path: String) -> Self {
        let (source, parent) = (self.source.clone(), Some(Rc::new(self.clone())));
        Self { source, node: node.clone(), path: path.into(), parent }
    }

    // --- scalars ---

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

    /// Text or a number, as sizes and durations are written.
    pub(crate) fn quantity(&self, wrong: &str) -> Option<String> {
        match self.node.describe() {
            "a number" | "text" => Some(self.expanded()?.into_owned()),
            _ => self.wrong(wrong),
        }
    }

    /// `true`, `false`, `on` or `off`.
    pub(crate) fn switch(&self) -> Option<bool> {
        match &*self.unquoted("true or false")? {
            "on" => Some(true),
            "off" => Some(false),
            text => tree::switch(text).or_else(|| self.wrong("must be true or false")),
        }
    }

    /// A whole number within these bounds.
    pub(crate) fn whole(&self, least: u64, most: u64) -> Option<u64> {
        let number = self.unquoted("a whole number")?.parse::<u64>().ok();
        let within = number.filter(|number| (least..=most).contains(number));
        within.or_else(|| self.wrong(format!("must be a whole number from {least} to {most}")))
    }

    /// One of these words.
    pub(crate) fn word(&self, words: &[&'static str]) -> Option<&'static str> {
        let list = match words {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            words => words.concat(),
        };
        let NodeKind::Scalar { .. } = self.node.kind else {
            return self.wrong(format!("must be {list}"));
        };
        let found = self.expanded()?;
        let word = words.iter().find(|word| **word == found).copied();
        word.or_else(|| self.wrong(format!("must be {list}{}", hint(&found, words))))
    }

    /// Whether it is this text and nothing else.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.kind, NodeKind::Scalar { text, .. } if text == word)
    }

    /// What it is, for a sentence.
    pub(crate) fn describe(&self) -> &'static str {
        self.node.describe()
    }

    fn is_null(&self) -> bool {
        self.describe() == "nothing"
    }

    /// A scalar's text; owned when variables were put in.
    fn expanded(&self) -> Option<Cow<'_, str>> {
        let NodeKind::Scalar { text, .. } = &self.node.kind else {
            return self.wrong(format!("must be text, not {}", self.node.describe()));
        };
        match env::expand(text, &self.source.context.variables) {
            Ok(text) => Some(text),
            Err(error) => self.wrong(error.to_string()),
        }
    }

    /// What must not be quoted text, unless it was made from variables.
    fn unquoted(&self, what: &str) -> Option<Cow<'_, str>> {
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

    // --- files ---

    /// A path that is relative to the folder of this value's file.
    pub(crate) fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.source.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The bytes of the file that it names.
    pub(crate) fn file(&self) -> Option<(PathBuf, Rc<[u8]>)> {
        let path = self.resolve(self.line()?);
        match self.source.context.read(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(what) => self.wrong(format!("{} {what}", path.display())),
        }
    }

    /// A secret in a file of its own, which stands in for the one at the key `instead`. The line break at its
    /// end does not belong to it.
    pub(crate) fn secret_file(&self, instead: &str) -> Option<FromFile<SecretString>> {
        if self.sibling(instead).is_some() {
            return self.wrong(format!("`{instead}` is given too; only one of them may be"));
        }
        let (path, bytes) = self.file()?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return self.wrong(format!("{} is not UTF-8", path.display()));
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return self.wrong(format!("{} is empty", path.display()));
        }
        Some(FromFile { path, content: SecretString::from(text.to_owned()) })
    }
}

/// A hint at the likeliest word, to be put behind a message; empty when none is near.
fn hint(found: &str, words: &[&str]) -> String {
    // Text this long is no mistyped key.
    if found.len() > 64 {
        return String::new();
    }
    let folded = |text: &str| text.to_lowercase().replace('-', "_");
    let near =
        words.iter().map(|word| (osa_distance(&folded(found), &word.replace('-', "_")), word));
    match near.min() {
        Some((distance, word)) if distance <= (word.len() / 3).clamp(1, 3) => {
            format!("; did you mean `{word}`?")
        }
        _ => String::new(),
    }
}

// === impl FromFile ===

impl<T> FromFile<T> {
    /// The file; empty when none is given.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<T> Deref for FromFile<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_at_what_is_near() {
        let keys = ["address", "certificate", "private_key", "tls"];
        let hint = |found: &str| hint(found, &keys);
        assert_eq!(hint("adress"), "; did you mean `address`?");
        assert_eq!(hint("privatekey"), "; did you mean `private_key`?");
        assert_eq!(hint("private-key"), "; did you mean `private_key`?");
        assert_eq!(hint("tsl"), "; did you mean `tls`?");
        assert_eq!(hint("port"), "");
        assert_eq!(hint(&"x".repeat(100)), "");
    }
}
