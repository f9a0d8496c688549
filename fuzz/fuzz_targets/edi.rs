//! The scanner of EDI envelopes: any file, any cut. The size of the pushes is taken from the length.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use as2hook_edi::{Ack, Edi, EventLists, Scanner};
use libfuzzer_sys::fuzz_target;

fn scan(file: &[u8], size: usize) -> (Option<Edi>, Vec<Ack>) {
    let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
    for piece in file.chunks(size) {
        scanner.push(piece, &mut lists);
    }
    let edi = scanner.finish(&mut lists);
    (edi, lists.into_acks())
}

fuzz_target!(|file: &[u8]| weigh::weigh(file.len(), || run(file)));

fn run(file: &[u8]) {
    let (edi, acks) = scan(file, file.len().max(1));
    assert_eq!((&edi, &acks), (&scan(file, 1 + file.len() % 61).0, &scan(file, 1).1));
    let json = serde_json::to_string(&(&edi, &acks)).unwrap();
    // And what stands around the lists.
    assert!(json.len() <= EventLists::ROOM + EventLists::ACK_ROOM + 200, "{}", json.len());
    let Some(edi) = edi else {
        assert!(acks.is_empty());
        return;
    };
    assert!(edi.interchange_count >= edi.interchanges.len() as u64);
    for interchange in &edi.interchanges {
        assert!(interchange.group_count >= interchange.groups.len() as u64);
        assert!(interchange.document_count >= interchange.documents.len() as u64);
        for document in &interchange.documents {
            assert!(document.group.is_none_or(|group| group < interchange.groups.len()));
        }
    }
}
