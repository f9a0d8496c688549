//! The BER push parser: any bytes, any cut, any choice of what to do with an element.
//! The first byte is the size of the pushes, the second chooses the actions.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use as2hook_as2::{
    Fault,
    ber::{Action, Parser, Tag, Visitor},
};
use libfuzzer_sys::fuzz_target;

const BUDGET: usize = 4096;

/// Writes down everything that it is told.
struct Notes {
    choice: u8,
    seen: usize,
    captured: usize,
    log: Vec<(usize, u8, Vec<u8>)>,
}

impl Visitor for Notes {
    fn element(&mut self, depth: usize, tag: Tag) -> Result<Action, Fault> {
        self.seen += 1;
        self.log.push((depth, tag.octet, Vec::new()));
        Ok(match (self.seen + usize::from(self.choice)) % 7 {
            0 => Action::Capture,
            1 if tag.is_octet_string() => Action::Stream,
            2 => Action::Skip,
            _ if tag.is_constructed() => Action::Enter,
            _ => Action::Stream,
        })
    }

    fn captured(&mut self, depth: usize, tag: Tag, raw: Vec<u8>) -> Result<(), Fault> {
        assert_eq!(raw.first(), Some(&tag.octet));
        self.captured += raw.len();
        assert!(self.captured <= BUDGET);
        self.log.push((depth, 1, raw));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self.log.last_mut() {
            Some((usize::MAX, _, data)) => data.extend_from_slice(bytes),
            _ => self.log.push((usize::MAX, 2, bytes.to_vec())),
        }
        Ok(())
    }

    fn end_of_stream(&mut self) -> Result<(), Fault> {
        self.log.push((0, 3, Vec::new()));
        Ok(())
    }
}

fn parse(bytes: &[u8], size: usize, choice: u8) -> (bool, Option<Fault>, Notes) {
    let mut notes = Notes { choice, seen: 0, captured: 0, log: Vec::new() };
    let mut parser = Parser::new(BUDGET);
    let mut fault = None;
    for piece in bytes.chunks(size) {
        if let Err(error) = parser.push(piece, &mut notes) {
            fault = Some(error);
            break;
        }
    }
    (parser.is_done(), fault, notes)
}

fuzz_target!(|input: &[u8]| weigh::weigh(input.len(), || run(input)));

fn run(input: &[u8]) {
    let [size, choice, bytes @ ..] = input else { return };
    let (done, fault, notes) = parse(bytes, bytes.len().max(1), *choice);
    let (done_cut, fault_cut, notes_cut) = parse(bytes, usize::from(*size).max(1), *choice);
    assert_eq!((done, &fault), (done_cut, &fault_cut));
    assert_eq!(notes.log, notes_cut.log);
}
