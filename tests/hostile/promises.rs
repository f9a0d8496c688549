//! The documents name a test for each promise: each of these exists.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_test_that_a_promise_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["src", "plugins", "tests"] {
        read_all(&root.join(folder), &mut sources);
    }
    let mut named = BTreeSet::new();
    for (document, heading) in
        [("SECURITY.md", "## What is promised"), ("docs/traffic.md", "## Under attack")]
    {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let (_, promises) = text.split_once(heading).unwrap();
        let words = promises.lines().filter(|line| line.starts_with('|')).flat_map(|line| {
            line.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2)
        });
        named.extend(words.map(str::to_owned));
    }
    assert!(named.len() > 30, "{named:?}");
    let is_missing = |name: &&String| !sources.contains(&format!("fn {name}("));
    let missing: Vec<_> = named.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn read_all(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
