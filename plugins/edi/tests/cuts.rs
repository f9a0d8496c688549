//! The result never depends on how the input is cut into pushes.

mod support;

use proptest::prelude::*;
use support::{isa, samples, scan, scan_pieces};

/// Pieces that end at these places.
fn cut<'a>(bytes: &'a [u8], ends: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for &end in ends {
        let end = end.clamp(from, bytes.len());
        pieces.push(&bytes[from..end]);
        from = end;
    }
    pieces.push(&bytes[from..]);
    pieces
}

/// The samples, and what they have too little of.
fn inputs() -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = samples().into_iter().map(|(name, bytes, _)| (name, bytes)).collect();
    let truncated = format!("{}GS*PO*A*B~ISA*not one~ISA|~", isa('*', '>', "~", 1));
    let others = [
        ("second header", format!("{truncated}{}GS|PO~", isa('|', '^', "\n", 2))),
        ("binary", format!("{}BIN*5*~ISA*~BDS*X*4*a~b~~SE*1*1~", isa('*', '>', "~", 1))),
        (
            "second UNA",
            "UNB+UNOA:1+A+B+261115:0930+1'UNA;-.! *UNB-UNOA;1-A-B-261115;0930-2*".to_owned(),
        ),
        (
            "package",
            "UNB+UNOC:4+A+B+261115:0930+1'UNO+1+A:1+B+7'a'UNZ+1UNP+7+1'UNZ+1+1'".to_owned(),
        ),
        (
            "odd separators",
            "UNB|UNOA^1|A|B|261115^0930|1~UNH|1|ORDERS^D~UNT|2|1~UNZ|1|1~".to_owned(),
        ),
        ("ellipsis", format!("{}GS*PO*A*B…GE*0*…IEA*1*000000001…x", isa('*', '>', "…", 1))),
        (
            "released line end",
            "UNB+UNOA:1+A+B+261115:0930+1'UNH+?\r\n'+x'UNT+2+?'UNZ+1+1'".to_owned(),
        ),
    ];
    inputs.extend(others.map(|(name, text)| (name.to_owned(), text.into_bytes())));
    inputs
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    for (name, bytes) in inputs() {
        let whole = scan(&bytes);
        for at in 0..=bytes.len() {
            assert_eq!(scan_pieces(cut(&bytes, &[at])), whole, "{name} at {at}");
        }
    }
}

#[test]
fn small_pieces_change_nothing() {
    for (name, bytes) in inputs() {
        let whole = scan(&bytes);
        for size in 1..10 {
            assert_eq!(scan_pieces(bytes.chunks(size)), whole, "{name} by {size}");
        }
    }
}

/// What interchanges are made of, in any order.
fn rubble() -> impl Strategy<Value = Vec<u8>> {
    let all = inputs().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    let sample = proptest::sample::select(all);
    let part = (sample, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        |(sample, from, to)| {
            let (from, to) = (from.index(sample.len() + 1), to.index(sample.len() + 1));
            sample[from.min(to)..from.max(to)].to_vec()
        },
    );
    let words =
        ["ISA*", "UNA:+.? '", "UNB+UNOA:1", "~", "'", "?", "\r\n", "UNO+1+a+b+9'", "BIN*3*", " "];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let parts =
        prop::collection::vec(prop_oneof![part, word], 1..12).prop_map(|parts| parts.concat());
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (parts, prop::collection::vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn cuts_of_damaged_files_change_nothing(
        bytes in rubble(),
        mut ends in prop::collection::vec(0..3000_usize, 0..20),
    ) {
        ends.sort_unstable();
        prop_assert_eq!(scan_pieces(cut(&bytes, &ends)), scan(&bytes));
    }
}
