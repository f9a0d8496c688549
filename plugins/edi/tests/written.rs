//! What a writer puts into interchanges comes out of the scanner.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write;

use as2hook_edi::{Interchange, Standard};
use proptest::prelude::*;
use support::scan;

#[derive(Clone, Debug)]
struct Written {
    is_x12: bool,
    wrap: Option<usize>,
    line_end: &'static str,
    sender: String,
    /// Of EDIFACT, only if it has groups.
    groups: Vec<Vec<WrittenDocument>>,
    has_groups: bool,
}

#[derive(Clone, Debug)]
struct WrittenDocument {
    document_type: String,
    segments: Vec<String>,
}

fn document() -> impl Strategy<Value = WrittenDocument> {
    ("[A-Z0-9]{3,6}", prop::collection::vec("[ -~]{0,60}", 0..6))
        .prop_map(|(document_type, segments)| WrittenDocument { document_type, segments })
}

fn written() -> impl Strategy<Value = Written> {
    let groups = prop::collection::vec(prop::collection::vec(document(), 0..4), 0..4);
    let line_end = prop::sample::select(vec!["", "\n", "\r\n"]);
    let wrap = prop::option::of(40..90_usize);
    (any::<bool>(), wrap, line_end, "[A-Z]([A-Z+:' ?]{0,12}[A-Z])?", groups, any::<bool>())
        .prop_map(|(is_x12, wrap, line_end, sender, groups, has_groups)| Written {
            is_x12,
            wrap: wrap.filter(|_| line_end.is_empty()),
            line_end,
            sender,
            groups,
            has_groups,
        })
}

impl Written {
    fn text(&self) -> String {
        let mut text = String::new();
        let terminator = if self.is_x12 { "~" } else { "'" };
        let mut segment = |segment: &str| {
            write!(text, "{segment}{terminator}{}", self.line_end).unwrap();
        };
        if self.is_x12 {
            self.write_x12(&mut segment);
        } else {
            self.write_edifact(&mut segment);
        }
        match self.wrap {
            // Lines that end with a blank would be padded ones.
            Some(width) => {
                let lines = text.as_bytes().chunks(width).map(String::from_utf8_lossy);
                lines.collect::<Vec<_>>().join("\r\n")
            }
            None => text,
        }
    }

    fn write_x12(&self, segment: &mut dyn FnMut(&str)) {
        segment(&format!(
            "ISA*00*          *00*          *ZZ*{:15}*ZZ*BETA           *261115*0930*U*00401*000000007*0*P*>",
            self.sender
        ));
        for (number, group) in self.groups.iter().enumerate() {
            segment(&format!("GS*PO*A*B*20261115*0930*{number}*X*004010"));
            for (number, document) in group.iter().enumerate() {
                segment(&format!("ST*{}*{number:04}", document.document_type));
                for content in &document.segments {
                    segment(&format!("N1*{}", content.replace('~', "-")));
                }
                segment(&format!("SE*{}*{number:04}", document.segments.len() + 2));
            }
            segment(&format!("GE*{}*{number}", group.len()));
        }
        segment(&format!("IEA*{}*000000007", self.groups.len()));
    }

    fn write_edifact(&self, segment: &mut dyn FnMut(&str)) {
        segment(&format!("UNB+UNOA:3+{}:ZZ+BETA:ZZ+261115:0930+7", released(&self.sender)));
        let mut number = 0;
        for (group_number, group) in self.groups.iter().enumerate() {
            if self.has_groups {
                segment(&format!("UNG+ORDERS+A+B+261115:0930+{group_number}+UN+D:96A"));
            }
            for document in group {
                segment(&format!("UNH+{number}+{}:D:96A:UN", document.document_type));
                for content in &document.segments {
                    segment(&format!("FTX+{}", released(content)));
                }
                segment(&format!("UNT+{}+{number}", document.segments.len() + 2));
                number += 1;
            }
            if self.has_groups {
                segment(&format!("UNE+{}+{group_number}", group.len()));
            }
        }
        let count =
            if self.has_groups && !self.groups.is_empty() { self.groups.len() } else { number };
        segment(&format!("UNZ+{count}+7"));
    }

    fn check(&self, interchange: &Interchange) {
        assert_eq!(interchange.warnings, []);
        assert!(interchange.complete);
        let sender = interchange.sender.as_ref().and_then(|sender| sender.id.as_deref());
        assert_eq!(sender, Some(&*self.sender));
        let has_groups = self.is_x12 || self.has_groups;
        let groups = if has_groups { self.groups.len() } else { 0 };
        assert_eq!(interchange.groups.len(), groups);
        let types = self.groups.iter().flatten().map(|document| Some(&*document.document_type));
        let read = interchange.documents.iter().map(|document| document.document_type.as_deref());
        assert_eq!(read.collect::<Vec<_>>(), types.collect::<Vec<_>>());
        let groups =
            self.groups.iter().enumerate().flat_map(|(at, group)| vec![Some(at); group.len()]);
        let groups = groups.map(|at| at.filter(|_| has_groups));
        let read = interchange.documents.iter().map(|document| document.group);
        assert_eq!(read.collect::<Vec<_>>(), groups.collect::<Vec<_>>());
    }
}

fn released(text: &str) -> String {
    text.chars().fold(String::new(), |mut released, c| {
        if matches!(c, '?' | '+' | ':' | '\'') {
            released.push('?');
        }
        released.push(c);
        released
    })
}

proptest! {
    #[test]
    fn written_interchanges_are_read(all in prop::collection::vec(written(), 1..4)) {
        let text: String = all.iter().map(|written| written.text() + "\r\n").collect();
        let edi = scan(text.as_bytes()).0.unwrap();
        let first = if all[0].is_x12 { Standard::X12 } else { Standard::Edifact };
        prop_assert_eq!(edi.standard, first);
        prop_assert_eq!(edi.interchanges.len(), all.len());
        for (written, interchange) in all.iter().zip(&edi.interchanges) {
            let standard = if written.is_x12 { Standard::X12 } else { Standard::Edifact };
            prop_assert_eq!(interchange.standard, Some(standard).filter(|&it| it != first));
            written.check(interchange);
        }
    }
}
