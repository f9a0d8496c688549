//! Whole loads, from files to the result. What is wrong is marked in the document itself: each `«`
//! is taken out, and stands for the place where the next expected mistake must be reported.

use std::{
    env::VarError,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

mod defaults;
mod gateway_mistakes;
mod hostile;
mod plugins;
mod reference;
mod reload;
mod rule_mistakes;
mod schema;
mod secrets;
mod shipped;
mod slips;
mod warnings;

/// Enough for a config to be whole.
const RECEIVER: &str = "receiver: { url: \"http://127.0.0.1:10080\" }\n";
const NO_RULES: &str = "webhooks: []\n";

/// Every kind of key and certificate.
pub(super) const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/keys");

/// Copies a key into a folder, for its owner alone.
pub(super) fn copy_key(key: &Path, folder: &Path) {
    let to = folder.join(key.file_name().unwrap());
    fs::copy(key, &to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder with files in it, and `keys` beside them, which their owner alone can read.
struct Files {
    folder: TempDir,
}

// === impl Files ===

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        for key in fs::read_dir(KEYS).unwrap() {
            copy_key(&key.unwrap().path(), &folder.path().join("keys"));
        }
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { folder }
    }

    fn attempt(&self) -> LoadAttempt {
        attempt_with(&self.folder.path().join("as2hook.yaml"), &Plugins::default(), |name| {
            match name {
                "SECRET" => Ok("hunter2-hunter2".to_owned()),
                "EMPTY" => Ok(String::new()),
                "NUMBER" => Ok("7".to_owned()),
                _ => Err(VarError::NotPresent),
            }
        })
    }

    /// Mistakes as the contract shows them, the folder left out.
    fn shown(&self, mistakes: &[ConfigDiagnostic]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&folder, "")).collect()
    }
}

/// Takes the marks out of a document, and gives their places as `line:column`.
fn marks(text: &str) -> (String, Vec<String>) {
    let mut places = Vec::new();
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let before = line.split('«').collect::<Vec<_>>();
        let mut column = 1;
        for part in &before[..before.len() - 1] {
            column += part.chars().count();
            places.push(format!("{}:{column}", number + 1));
        }
        lines.push(before.concat());
    }
    (lines.join("\n") + "\n", places)
}

/// Loads files with marks; each mark is a mistake with this path and this message, in order, and
/// there is no other.
#[track_caller]
fn expect_in(files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let mut clean = Vec::new();
    let mut places = Vec::new();
    for (name, text) in files {
        let (text, found) = marks(text);
        places.extend(found.into_iter().map(|place| format!("{name}:{place}")));
        clean.push((*name, text));
    }
    let clean: Vec<_> = clean.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let files = Files::new(&clean);
    let mistakes = files.attempt().outcome.map(|_| "a whole config").unwrap_err();
    assert_eq!(places.len(), expected.len(), "a mark for each mistake");
    let expected: Vec<_> = places
        .iter()
        .zip(expected)
        .map(|(place, (path, message))| format!("{place}: {path}: {message}"))
        .collect();
    assert_eq!(files.shown(&mistakes), expected);
}

/// As [`expect_in`], in `as2hook.yaml`. The receiver is added behind it unless it names one.
#[track_caller]
fn expect(gateway: &str, expected: &[(&str, &str)]) {
    let more = if gateway.contains("receiver:") { "" } else { RECEIVER };
    let gateway = format!("{gateway}\n{more}");
    expect_in(&[("as2hook.yaml", &gateway), ("webhooks.yaml", NO_RULES)], expected);
}

/// As [`expect_in`], in `webhooks.yaml`.
#[track_caller]
fn expect_rules(rules: &str, expected: &[(&str, &str)]) {
    expect_in(&[("as2hook.yaml", RECEIVER), ("webhooks.yaml", rules)], expected);
}

/// Loads what must be right.
#[track_caller]
fn right(gateway: &str, rules: &str) -> (Loaded, Files) {
    let more = if gateway.contains("receiver:") { "" } else { RECEIVER };
    let gateway = format!("{gateway}\n{more}");
    let files = Files::new(&[("as2hook.yaml", &gateway), ("webhooks.yaml", rules)]);
    (files.attempt().outcome.unwrap(), files)
}

/// The warnings about what must be right.
#[track_caller]
fn warned(gateway: &str, rules: &str) -> Vec<String> {
    let (_, files) = right(gateway, rules);
    files.shown(&files.attempt().warnings)
}
