//! The samples, read by pyx12 and pydifact too: what those can read is the same. `tests/edi/run` installs them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it compared"
)]

mod support;

use std::{env, path::Path, process::Command};

use as2hook_edi::{Edi, Interchange};
use serde_json::{Value, json};
use support::{samples, scan};

/// What these find in a file. `None`: they refuse it.
fn read(standard: &str, sample: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env::var_os("AS2HOOK_EDI_PYTHON").unwrap())
        .arg(folder.join("../../tests/edi/read.py"))
        .arg(standard)
        .arg(folder.join("tests/samples").join(sample))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).ok()
}

fn found(edi: &Edi) -> Value {
    let all = |of: &dyn Fn(&Interchange) -> Vec<Value>| {
        edi.interchanges.iter().flat_map(of).collect::<Vec<_>>()
    };
    json!({
        "interchanges": all(&|it| vec![json!(it.control_number)]),
        "groups": all(&|it| it.groups.iter().map(|it| json!([it.functional_id, it.control_number])).collect()),
        "documents": all(&|it| it.documents.iter().map(|it| json!([it.document_type, it.control_number])).collect()),
    })
}

#[test]
#[ignore = "needs what tests/edi/run installs"]
fn other_parsers_find_the_same_in_what_they_can_read() {
    let mut compared = Vec::new();
    for (sample, bytes, _) in samples() {
        let Some((standard @ ("x12" | "edifact"), _)) = sample.split_once('-') else { continue };
        if let Some(theirs) = read(standard, &sample) {
            assert_eq!(found(&scan(&bytes).0.unwrap()), theirs, "{sample}");
            compared.push(sample);
        }
    }
    println!("{} samples compared: {}", compared.len(), compared.join(", "));
    assert!(compared.len() >= 20, "{compared:?}");
}
