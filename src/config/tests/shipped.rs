//! The shipped config works as it stands, and names every key.

use std::{env::VarError, path::Path};

use crate::config::{Store, attempt_with};

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

#[test]
fn loads_without_a_mistake_or_a_warning() {
    let attempt = attempt_with(&shipped("as2hook.yaml"), &|_| Err(VarError::NotPresent));
    let loaded = attempt.outcome.unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(loaded.rules.is_empty());
    assert!(
        matches!(loaded.config.store, Store::Sqlite(path) if path.ends_with("conf/data/as2hook.db"))
    );
    assert_eq!(loaded.watched, [shipped("as2hook.yaml"), shipped("webhooks.yaml")]);
}
