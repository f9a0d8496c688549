//! Mappings whose keys are known: any other is a mistake at its place.

use std::path::PathBuf;

use super::{
    super::{
        mistake::{ConfigDiagnostic, ConfigPath, Position},
        tree::{Entry, NodeKind},
    },
    SecretString, SourceFile, Value, suggest,
};

/// A mapping all of whose keys are known.
pub(crate) struct Table<'a> {
    source: SourceFile<'a>,
    at: Position,
    entries: &'a [Entry],
    path: ConfigPath<'a>,
    keys: &'static [&'static str],
}

impl<'a> Value<'a> {
    /// A mapping of these keys; any other is a mistake at its place. Nothing is an empty one.
    pub(crate) fn table(&self, keys: &'static [&'static str]) -> Option<Table<'a>> {
        let entries = match &self.node.kind {
            NodeKind::Mapping(entries) => entries.as_slice(),
            NodeKind::Scalar { .. } if self.is_null() => &[],
            _ => return self.wrong(format!("must be a mapping, not {}", self.node.describe())),
        };
        let table =
            Table { source: self.source, at: self.node.at, entries, path: self.path.clone(), keys };
        table.judge_keys();
        Some(table)
    }
}

// === impl Table ===

impl<'a> Table<'a> {
    /// The value at this key, which must be one of the table's.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(self.keys.contains(&key), "{key} is no key of this table");
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Value { source: self.source, node: &entry.value, path: self.path.key(key) })
    }

    /// Reads a key that may be left out.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<T> {
        read(&self.get(key)?)
    }

    /// Reads a key that has a default.
    pub(crate) fn read_or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> T {
        self.read(key, read).unwrap_or(default)
    }

    /// Reads a key that must be there.
    pub(crate) fn need<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(value) => read(&value),
            None => self.wrong(format!("the key `{key}` is missing")),
        }
    }

    /// A secret that stands at `key`, or in the file that `file_key` names.
    pub(crate) fn secret(&self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        match (self.get(key), self.get(file_key)) {
            (Some(_), Some(file)) => {
                file.wrong(format!("`{key}` is given too; only one of them may be"))
            }
            (Some(value), None) => value.hidden(),
            (None, Some(file)) => file.secret_file(),
            (None, None) => None,
        }
    }

    /// A path that a default gives.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.source.resolve(path)
    }

    /// Notes a mistake where the mapping begins.
    pub(crate) fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        let path = self.path.to_string();
        self.source.context.mistake(ConfigDiagnostic::new(
            self.source.file,
            self.at,
            path,
            message,
        ));
        None
    }

    fn judge_keys(&self) {
        for entry in self.entries.iter().filter(|entry| !self.keys.contains(&entry.key.as_str())) {
            let hint = suggest::hint(&entry.key, self.keys.iter().copied());
            let message = if hint.is_empty() {
                format!("unknown key; the keys here are {}", self.keys.join(", "))
            } else {
                format!("unknown key{hint}")
            };
            let path = self.path.key(&entry.key).to_string();
            let mistake = ConfigDiagnostic::new(self.source.file, entry.key_at, path, message);
            self.source.context.mistake(mistake);
        }
    }
}
