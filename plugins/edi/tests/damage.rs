//! Files as partners really write them: damaged, padded, cut off, one behind the other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_edi::{Standard, WarningValue};
use support::{interchange, isa, scan, warnings, x12};

#[test]
fn second_interchange_has_separators_of_its_own() {
    let first = x12("ST*850*1~SE*2*1~");
    let second = format!(
        "{}GS|FA|A|B|20261115|0930|2|X|004010\nGE|0|2\nIEA|1|000000002\n",
        isa('|', '^', "\n", 2)
    );
    let edi = scan((first.clone() + &second).as_bytes()).0.unwrap();
    assert_eq!((edi.interchanges.len(), edi.interchange_count), (2, 2));
    assert_eq!(edi.interchanges[1].groups[0].functional_id.as_deref(), Some("FA"));
    assert!(edi.interchanges.iter().all(|it| it.complete && it.warnings.is_empty()));
    // The first one is cut off behind a segment.
    let cut = first.replace("IEA*1*000000001~", "");
    let edi = scan((cut + &second).as_bytes()).0.unwrap();
    assert_eq!(edi.interchanges.iter().map(|it| it.complete).collect::<Vec<_>>(), [false, true]);
    assert_eq!(edi.interchanges[1].group_count, 1);
}

#[test]
fn interchange_of_another_standard_has_its_own() {
    let edifact = "UNA:+.? '\r\nUNB+UNOA:1+A+B+261115:0930+2'UNZ+0+2'";
    let edi = scan((x12("") + "\r\n" + edifact).as_bytes()).0.unwrap();
    assert_eq!(edi.standard, Standard::X12);
    let standards = edi.interchanges.iter().map(|it| it.standard).collect::<Vec<_>>();
    assert_eq!(standards, [None, Some(Standard::Edifact)]);
}

#[test]
fn una_within_an_interchange_begins_another() {
    let text = "UNB+UNOA:1+A+B+261115:0930+1'UNH+1+ORDERS:D'UNA;-.! *UNB-UNOA;1-A-B-261115;0930-2*UNZ-0-2*";
    let edi = scan(text.as_bytes()).0.unwrap();
    let numbers = edi.interchanges.iter().map(|it| it.control_number.as_deref().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(edi.interchanges.iter().map(|it| it.complete).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_only_looks_like_a_header_within_an_interchange_is_a_segment() {
    let interchange = interchange(x12("ST*850*1~ISA*00*no header~ISA|~SE*4*1~").as_bytes());
    assert_eq!(warnings(&interchange), []);
    assert!(interchange.complete);
}

#[test]
fn missing_trailers_and_headers_are_reported() {
    let text = format!(
        "{}GS*PO*A*B*20261115*0930*1*X*004010~ST*850*1~ST*850*2~GS*PO*A*B*20261115*0930*2*X*004010~SE*1*2~GE*0*2~GE*0*2~IEA*2*000000001~",
        isa('*', '>', "~", 1)
    );
    let interchange = interchange(text.as_bytes());
    assert_eq!(
        warnings(&interchange),
        [
            ("missing-trailer", "SE"),
            ("missing-trailer", "SE"),
            ("missing-trailer", "GE"),
            ("missing-header", "SE"),
            ("missing-header", "GE")
        ]
    );
}

#[test]
fn control_number_that_differs_by_zeros_has_a_code_of_its_own() {
    let interchange =
        interchange(x12("ST*850*0001~SE*2*1~").replace("IEA*1*000000001", "IEA*01*1").as_bytes());
    assert_eq!(
        warnings(&interchange),
        [("control-number-padding", "SE02"), ("control-number-padding", "IEA02")]
    );
    assert_eq!(interchange.warnings[0].expected, Some(WarningValue::Text("0001".into())));
}

#[test]
fn count_that_is_no_number_is_reported_as_written() {
    let interchange = interchange(x12("ST*850*1~SE*two*1~ST*850*2~SE~").as_bytes());
    assert_eq!(
        warnings(&interchange),
        [("segment-count", "SE01"), ("segment-count", "SE01"), ("control-number", "SE02"),]
    );
    assert_eq!(interchange.warnings[0].found, Some(WarningValue::Text("two".into())));
    assert_eq!(interchange.warnings[1].found, None);
}

#[test]
fn trailing_data_is_reported_and_padding_is_not() {
    for (behind, codes) in
        [("\r\n\0\0\x1a ", vec![]), ("\r\nEND OF FILE", vec![("trailing-data", "IEA")])]
    {
        assert_eq!(warnings(&interchange((x12("") + behind).as_bytes())), codes, "{behind}");
    }
    let text = "UNB+UNOA:1+A+B+261115:0930+1'UNZ+0+1''\r\nx";
    assert_eq!(warnings(&interchange(text.as_bytes())), [("trailing-data", "UNZ")]);
}

#[test]
fn header_behind_garbage_counts_if_it_verifies() {
    assert!(interchange(("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &x12("")).as_bytes()).complete);
    for text in [
        "ISA\nGROUP\nISAAC\n",
        "a;UNB+UNOA\n",
        "NARCISA*1*2",
        "UNBELIEVABLE:1",
        "STX=ANA:1+5012345'ISA*",
    ] {
        assert_eq!(scan(text.as_bytes()).0, None, "{text}");
    }
    let hl7 = "MSH|^~\\&|LAB\r".to_owned() + &x12("");
    assert_eq!(scan(hl7.as_bytes()).0, None);
}

#[test]
fn trailer_without_terminator_at_the_end_counts_with_the_right_number() {
    let text = x12("");
    let whole = text.strip_suffix('~').unwrap();
    assert!(interchange(whole.as_bytes()).complete);
    assert!(!interchange(&whole.as_bytes()[..whole.len() - 1]).complete);
    let unb = "UNB+UNOA:1+A+B+261115:0930+12'UNZ+0+12";
    assert!(interchange(unb.as_bytes()).complete);
    assert!(!interchange(&unb.as_bytes()[..unb.len() - 1]).complete);
}

#[test]
fn header_without_terminator_keeps_what_was_read() {
    let interchange = interchange(b"UNB+UNOA:3+ALPHA:ZZ+BETA");
    assert_eq!(interchange.sender.unwrap().id.as_deref(), Some("ALPHA"));
    assert!(!interchange.complete);
}

#[test]
fn segments_in_binary_data_are_none() {
    let inside = "ST*102*1~BIN*16*~IEA*1*000000001~BDS*ASC*5*~SE*~~SE*4*1~";
    let interchange = interchange(x12(inside).as_bytes());
    assert!(interchange.complete);
    assert_eq!((warnings(&interchange), interchange.document_count), (vec![], 1));
}

#[test]
fn terminator_of_several_bytes_ends_a_segment() {
    let text = x12("ST*850*1~SE*2*1~").replace('~', "…");
    let interchange = interchange(text.as_bytes());
    assert!(interchange.complete);
    assert_eq!((warnings(&interchange), interchange.document_count), (vec![], 1));
}

#[test]
fn release_character_of_isx_makes_data() {
    let text = x12("ST*850*1~N1*a\\~SE*9*9~SE*3*1~")
        .replace("00401", "00704")
        .replace("P*>~", "P*>~ISX*\\~");
    let read = interchange(text.as_bytes());
    assert_eq!((warnings(&read), read.complete), (vec![], true));
    assert!(!warnings(&interchange(text.replace("00704", "00703").as_bytes())).is_empty());
}

#[test]
fn century_is_that_of_the_group() {
    let text = x12("").replace("*261115*", "*851115*").replace("20261115", "20851115");
    assert_eq!(interchange(text.as_bytes()).prepared_at.as_deref(), Some("2085-11-15T09:30"));
    let text = text.replace("20851115", "20861115");
    assert_eq!(interchange(text.as_bytes()).prepared_at.as_deref(), Some("1985-11-15T09:30"));
}

#[test]
fn package_is_skipped_by_its_length() {
    let unb = "UNB+UNOC:4+A+B+20261115:0930+1'";
    for (object, behind) in [("'UNZ+9+9'", ""), ("'UNZ+9+9'", "\r\n"), ("a\r\n'?'b", "")] {
        let length = object.len();
        let text = format!(
            "{unb}UNO+P1+1:X+48:HEX+{length}'{object}{behind}UNP+{length}+P1'UNH+1+ORDERS:D'UNT+2+1'UNZ+2+1'"
        );
        let interchange = interchange(text.as_bytes());
        assert_eq!((warnings(&interchange), interchange.complete), (vec![], true), "{text}");
        assert_eq!((interchange.package_count, interchange.document_count), (1, 1));
    }
    let text = format!("{unb}UNO+P1+1:X+48:HEX+4:1'USH+1'ab'cUNP+5+P2'UNZ+1+1'");
    let interchange = interchange(text.as_bytes());
    assert_eq!(warnings(&interchange), [("package-length", "UNP01"), ("control-number", "UNP02")]);
}

#[test]
fn odd_separators_without_una_are_read_and_reported() {
    let text = "UNB|UNOA^1|A|B|261115^0930|1~UNH|1|ORDERS^D^96A^UN~UNT|2|1~UNZ|1|1~";
    let interchange = interchange(text.as_bytes());
    assert_eq!(warnings(&interchange), [("separators", "UNA")]);
    assert_eq!(interchange.documents[0].version.as_deref(), Some("D:96A:UN"));
}

#[test]
fn trailers_of_edifact_are_checked() {
    let text = "UNB+UNOA:1+A+B+261115:0930+1'UNH+1+ORDERS:D'UNT+9+2'UNZ+4+0001'";
    let read = interchange(text.as_bytes());
    let expected = [
        ("segment-count", "UNT01"),
        ("control-number", "UNT02"),
        ("document-count", "UNZ01"),
        ("control-number-padding", "UNZ02"),
    ];
    assert_eq!(warnings(&read), expected);
    let text =
        "UNB+UNOA:1+A+B+261115:0930+1'UNG+ORDERS+A+B+261115:0930+7+UN+D:96A'UNE+1+8'UNZ+2+1'";
    let read = interchange(text.as_bytes());
    assert_eq!(
        warnings(&read),
        [("document-count", "UNE01"), ("control-number", "UNE02"), ("group-count", "UNZ01")]
    );
}
