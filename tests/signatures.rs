//! What receivers verify deliveries with: the samples and the libraries of `docs/verify.md`, and `as2hook listen`.
//! `tests/signatures/run` installs what not every machine has, and runs the tests that need it.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "signatures/libraries.rs"]
mod libraries;
#[path = "signatures/listen.rs"]
mod listen;
#[path = "signatures/samples.rs"]
mod samples;

use std::{fs, path::Path, time::Duration};

use as2hook_testing::Request;

const SOON: Duration = Duration::from_secs(120);

/// Header fields by their names in lower case.
type Fields = Vec<(String, String)>;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.md")).unwrap()
}

/// The headers of a delivery as the samples and the libraries expect them.
fn fields(delivered: &Request) -> Fields {
    let value = |name: &&str| delivered.header(name).map(str::to_owned);
    let names = delivered.head.names();
    names.iter().filter_map(|name| Some((name.to_lowercase(), value(name)?))).collect()
}
