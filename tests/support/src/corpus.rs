//! The captured and made messages that stand beside the repository, in `../shared/corpus`.

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
    /// The attachments' bytes, in order.
    pub payloads: Vec<Vec<u8>>,
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

/// All cases by name; none, and a word about it, where the corpus is not at hand.
pub fn cases() -> Vec<Case> {
    let mut folders = entries(&root().join("cases"));
    folders.sort();
    folders.iter().map(|folder| read(folder)).collect()
}

/// Its keys and certificates.
pub fn keys() -> Vec<Key> {
    let root = root();
    let Ok(text) = fs::read_to_string(root.join("keys.json")) else { return Vec::new() };
    let listed: Vec<Value> = serde_json::from_str(&text).expect("keys.json is JSON");
    let listed = listed.iter().map(|key| Key {
        name: key["name"].as_str().unwrap_or_default().to_owned(),
        certificate: root.join(key["certificate"].as_str().unwrap_or_default()),
        private_key: key["private_key"].as_str().map(|file| root.join(file)),
    });
    listed.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus")
}

#[expect(clippy::print_stderr, reason = "nothing is skipped in silence")]
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(folder) else {
        eprintln!("The corpus is not beside this repository: its messages are not tried.");
        return Vec::new();
    };
    read.map(|entry| entry.expect("the corpus can be listed").path()).collect()
}

fn read(folder: &Path) -> Case {
    let headers_file = folder.join("headers.txt");
    let body_file = folder.join("body.bin");
    let bytes = |file: &Path| fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = String::from_utf8_lossy(&bytes(&headers_file)).into_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let expected = bytes(&folder.join("expected.json"));
    let payload = |nth: usize| fs::read(folder.join(format!("payload-{nth}.bin"))).ok();
    Case {
        id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        headers: text.lines().filter_map(field).collect(),
        headers_file,
        body: bytes(&body_file),
        body_file,
        expected: serde_json::from_slice(&expected).expect("expected.json is JSON"),
        payloads: (0..).map_while(payload).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_as_its_own_figures_say() {
        for case in cases() {
            let sum = crate::http::hex(&openssl::sha::sha256(&case.body));
            assert_eq!(case.expected["body_sha256"], sum.as_str(), "{}", case.id);
            let listed = case.expected["payloads"].as_array().map_or(0, Vec::len);
            assert_eq!(listed, case.payloads.len(), "{}", case.id);
        }
    }
}
