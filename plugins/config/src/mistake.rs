//! What is wrong, and where it stands.

use std::{
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
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

/// The way from a document's root to a node. Cheap to extend and to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigPath(Option<Rc<PathStep>>);

#[derive(Debug)]
struct PathStep {
    before: ConfigPath,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Key(Rc<str>),
    Index(usize),
}

// === impl ConfigDiagnostic ===

impl ConfigDiagnostic {
    pub(crate) fn new(
        file: &Path,
        at: Position,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            path: path.into(),
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

// === impl ConfigPath ===

impl ConfigPath {
    pub(crate) fn key(&self, key: impl Into<Rc<str>>) -> Self {
        Self(Some(Rc::new(PathStep { before: self.clone(), name: Name::Key(key.into()) })))
    }

    /// Where it goes to the node that holds this one, and the key of this one there.
    pub(crate) fn parent(&self) -> Option<(Self, &str)> {
        let step = self.0.as_ref()?;
        match &step.name {
            Name::Key(key) => Some((step.before.clone(), key)),
            Name::Index(_) => None,
        }
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(Some(Rc::new(PathStep { before: self.clone(), name: Name::Index(index) })))
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else { return f.write_str("document") };
        let first = step.before.0.is_none();
        if !first {
            step.before.fmt(f)?;
        }
        match &step.name {
            Name::Index(index) => write!(f, "[{index}]"),
            Name::Key(key) => {
                let plain = |c: char| c.is_alphanumeric() || "_-.*/<".contains(c);
                f.write_str(if first { "" } else { "." })?;
                // A quoted key may hold anything; a message stays one line.
                if !key.is_empty() && key.chars().all(plain) {
                    f.write_str(key)
                } else {
                    write!(f, "{key:?}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_the_contract_has_it() {
        let path = ConfigPath::default().key("stations").index(0).key("keys").index(1);
        let at = Position { line: 7, column: 3 };
        let mistake =
            ConfigDiagnostic::new(Path::new("conf/a.yaml"), at, path.to_string(), "is wrong");
        assert_eq!(mistake.to_string(), "conf/a.yaml:7:3: stations[0].keys[1]: is wrong");
        let json = serde_json::to_string(&mistake).unwrap();
        assert_eq!(
            json,
            r#"{"file":"conf/a.yaml","line":7,"column":3,"path":"stations[0].keys[1]","message":"is wrong"}"#
        );
    }

    #[test]
    fn a_hostile_key_stays_on_one_line() {
        assert_eq!(ConfigPath::default().key("a\nb").to_string(), r#""a\nb""#);
        assert_eq!(ConfigPath::default().to_string(), "document");
    }
}
