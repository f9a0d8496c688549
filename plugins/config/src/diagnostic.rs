//! What is wrong, and where it stands. Positions are read in `tree`, and attached in `Value::here`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

/// Something in a config file that has to be put right.
///
/// Shown as `file:line:column: path: what is wrong`, and serialised with these names in the response
/// of `POST /admin/reload` (`docs/api.md`). Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigDiagnostic {
    /// The file, as it was named by the user or by the file that leads to it.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1, in characters.
    pub column: usize,
    /// Where it stands in the document: `stations[0].keys[1].private_key`.
    pub path: String,
    /// One sentence for a person.
    pub message: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    /// Counts from 1.
    pub(crate) line: usize,
    /// Counts from 1, in characters.
    pub(crate) column: usize,
}

// === impl ConfigDiagnostic ===

impl ConfigDiagnostic {
    pub(crate) fn new(file: &Path, at: Position, path: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            path: if path.is_empty() { "document" } else { path }.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, message } = self;
        write!(f, "{}:{line}:{column}: {path}: {message}", file.display())
    }
}

impl std::error::Error for ConfigDiagnostic {}

fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

// === impl Position ===

impl Position {
    /// Where a file begins.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

// === paths ===

/// The path of a mapping's key. The document's own is empty.
pub(crate) fn key_path(within: &str, key: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.*/<".contains(c);
    let dot = if within.is_empty() { "" } else { "." };
    // A quoted key may hold anything; a message stays one line.
    if !key.is_empty() && key.chars().all(is_plain) {
        format!("{within}{dot}{key}")
    } else {
        format!("{within}{dot}{key:?}")
    }
}

/// The path of a list's item.
pub(crate) fn index_path(within: &str, index: usize) -> String {
    format!("{within}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_the_contract_has_it() {
        let path = index_path(&key_path(&index_path("stations", 0), "keys"), 1);
        let at = Position { line: 7, column: 3 };
        let mistake = ConfigDiagnostic::new(Path::new("conf/a.yaml"), at, &path, "is wrong");
        assert_eq!(mistake.to_string(), "conf/a.yaml:7:3: stations[0].keys[1]: is wrong");
        let json = serde_json::to_string(&mistake).unwrap();
        assert_eq!(
            json,
            r#"{"file":"conf/a.yaml","line":7,"column":3,"path":"stations[0].keys[1]","message":"is wrong"}"#
        );
    }

    #[test]
    fn a_hostile_key_stays_on_one_line() {
        assert_eq!(key_path("", "a\nb"), r#""a\nb""#);
        assert_eq!(key_path("a", "b c"), r#"a."b c""#);
    }
}
