//! Messages and MDNs with what must come of them: those made for this project, in `tests/corpus`, and
//! those captured by others, in `../shared/corpus`, where that folder stands beside the repository.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One HTTP exchange's request, and what it is.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its folder's name.
    pub id: String,
    /// Header fields, names in their case.
    pub headers: Vec<(String, String)>,
    /// The same, as a file.
    pub headers_file: PathBuf,
    /// The body.
    pub body: Vec<u8>,
    /// The same, as a file.
    pub body_file: PathBuf,
    /// Layers, algorithms, MIC, attachments.
    pub expected: Value,
}

/// A key or certificate of the corpus.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name that the cases call it by.
    pub name: String,
    /// PEM or DER.
    pub certificate: PathBuf,
    /// There for the receiving side's.
    pub private_key: Option<PathBuf>,
}

// === impl Case ===

impl Case {
    /// What must come of it, such as `processed`.
    pub fn expect(&self) -> &str {
        self.expected["expect"].as_str().unwrap_or_default()
    }

    /// The first header field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// All cases by name. A printed line says so where the captured ones are not among them.
pub fn cases() -> Vec<Case> {
    let folders = folders().into_iter().flat_map(|folder| entries(&folder.join("cases")));
    // Those of the repository stand in the other folder, too.
    let by_name: BTreeMap<_, _> =
        folders.rev().map(|path| (path.file_name().map(OsStr::to_owned), path)).collect();
    by_name.values().map(|folder| read(folder)).collect()
}

/// Their keys and certificates, each name once.
pub fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for folder in folders() {
        let text = fs::read_to_string(folder.join("keys.json")).expect("keys.json can be read");
        let listed: Vec<Value> = serde_json::from_str(&text).expect("keys.json is JSON");
        for key in listed {
            let name = key["name"].as_str().unwrap_or_default();
            if keys.iter().all(|known| known.name != name) {
                keys.push(Key {
                    name: name.to_owned(),
                    certificate: folder.join(key["certificate"].as_str().unwrap_or_default()),
                    private_key: key["private_key"].as_str().map(|file| folder.join(file)),
                });
            }
        }
    }
    keys
}

/// The fields of a file of header lines, none of them folded.
pub fn header_fields(text: &str) -> Vec<(String, String)> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The repository's own first.
#[expect(clippy::print_stderr, reason = "nothing is skipped in silence")]
fn folders() -> Vec<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let captured = manifest.join("../../../shared/corpus");
    let mut folders = vec![manifest.join("../corpus")];
    if captured.is_dir() {
        folders.push(captured);
    } else {
        eprintln!(
            "Messages captured by others are not tried: {} is not there.",
            captured.display()
        );
    }
    folders
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).expect("the corpus can be read");
    read.map(|entry| entry.expect("the corpus can be listed").path()).collect()
}

fn read(folder: &Path) -> Case {
    let headers_file = folder.join("headers.txt");
    let body_file = folder.join("body.bin");
    let bytes = |file: &Path| fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = String::from_utf8_lossy(&bytes(&headers_file)).into_owned();
    let expected = bytes(&folder.join("expected.json"));
    Case {
        id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        headers: header_fields(&text),
        headers_file,
        body: bytes(&body_file),
        body_file,
        expected: serde_json::from_slice(&expected).expect("expected.json is JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_as_its_own_figures_say() {
        let cases = cases();
        assert!(cases.len() >= 31, "{} cases", cases.len());
        for case in cases {
            let sum = crate::http::hex(&openssl::sha::sha256(&case.body));
            assert_eq!(case.expected["body_sha256"], sum.as_str(), "{}", case.id);
        }
    }
}
