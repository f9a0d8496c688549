//! What the tests of the scanner share.

#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use as2hook_edi::{Ack, Edi, EventLists, Interchange, Scanner};

/// What one file is, and what it acknowledges.
pub(crate) fn scan(bytes: &[u8]) -> (Option<Edi>, Vec<Ack>) {
    scan_pieces(std::iter::once(bytes))
}

pub(crate) fn scan_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Option<Edi>, Vec<Ack>) {
    let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
    for piece in pieces {
        scanner.push(piece, &mut lists);
    }
    let edi = scanner.finish(&mut lists);
    (edi, lists.into_acks())
}

/// Of a file that has one.
pub(crate) fn interchange(bytes: &[u8]) -> Interchange {
    let edi = scan(bytes).0.unwrap();
    assert_eq!(edi.interchange_count, 1);
    edi.interchanges.into_iter().next().unwrap()
}

/// Code and segment of each warning.
pub(crate) fn warnings(interchange: &Interchange) -> Vec<(&str, &str)> {
    interchange.warnings.iter().map(|warning| (&*warning.code, &*warning.segment)).collect()
}

/// Name, content and what is right.
pub(crate) fn samples() -> Vec<(String, Vec<u8>, serde_json::Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut samples = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(sample) = name.strip_suffix(".expected.json") {
            let expected = serde_json::from_slice(&fs::read(folder.join(&name)).unwrap()).unwrap();
            samples.push((sample.to_owned(), fs::read(folder.join(sample)).unwrap(), expected));
        }
    }
    assert!(samples.len() >= 36, "{}", samples.len());
    samples
}

/// An ISA that announces these separators.
pub(crate) fn isa(element: char, component: char, terminator: &str, number: u32) -> String {
    let isa = format!(
        "ISA*00*          *00*          *ZZ*ALPHA          *ZZ*BETA           *261115*0930*U*00401*{number:09}*0*P*"
    );
    format!("{}{component}{terminator}", isa.replace('*', &element.to_string()))
}

/// An interchange of one group with these segments.
pub(crate) fn x12(segments: &str) -> String {
    let isa = isa('*', '>', "~", 1);
    let documents = segments.split('~').filter(|segment| segment.starts_with("ST*")).count();
    format!("{isa}GS*PO*A*B*20261115*0930*1*X*004010~{segments}GE*{documents}*1~IEA*1*000000001~")
}
