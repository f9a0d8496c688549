//! Subjects as partners write them, decoded as file names are.

use as2hook_as2::Headers;

use super::{decoded, support::Message, warnings};

#[track_caller]
fn subject(value: impl Into<Vec<u8>>) -> Option<String> {
    let mut headers = Headers::new();
    headers.push("Subject", value);
    let (decoded, _) =
        decoded(&Message { headers: headers.clone(), body: Vec::new() }, &<_>::default());
    assert_eq!(decoded.subject, headers.subject());
    assert_eq!((decoded.errors.len(), warnings(&decoded).len()), (0, 0));
    decoded.subject
}

#[test]
fn dada_mail_322_subject_is_decoded_from_raw_bytes() {
    for (value, text) in [
        (&b"Rechnung f\xfcr M\xe4rz"[..], "Rechnung f\u{fc}r M\u{e4}rz"),
        ("Rechnung f\u{fc}r M\u{e4}rz".as_bytes(), "Rechnung f\u{fc}r M\u{e4}rz"),
        (b"1\x80 \x96 2\x80", "1\u{20ac} \u{2013} 2\u{20ac}"),
        (b"\xff\xfe\xc3\x28", "\u{ff}\u{fe}\u{c3}("),
        (b"  plain  ", "plain"),
    ] {
        assert_eq!(subject(value).as_deref(), Some(text), "{value:?}");
    }
    assert_eq!(subject(" "), None);
}

#[test]
fn subject_of_encoded_words_is_decoded_wherever_they_are_cut() {
    for (value, text) in [
        ("=?iso-8859-1?Q?Rechnung_f=FCr_M=E4rz?=", "Rechnung f\u{fc}r M\u{e4}rz"),
        ("=?UTF-8?B?UmVjaG51bmc=?= 4711", "Rechnung 4711"),
        ("=?utf-8?q?f=C3=BCr?=\r\n =?utf-8?q?_M=C3=A4rz?=", "f\u{fc}r M\u{e4}rz"),
        // A character in two words, as senders cut that count bytes; in two encodings of the bytes.
        ("=?utf-8?q?f=C3?=\r\n\t=?UTF-8?q?=BCr?=", "f\u{fc}r"),
        ("=?utf-8?q?f=C3?= =?utf-8?b?vHI=?=", "f\u{fc}r"),
        ("=?iso-2022-jp?B?GyRCQEE1YRsoQg==?= =?utf-8?q?=C3=BC?=", "\u{8acb}\u{6c42}\u{fc}"),
        // A word that is itself folded.
        ("=?utf-8?B?UmVj\r\n aG51bmc=?=", "Rechnung"),
        // An unknown character set is guessed, and what is no word stays.
        ("=?x-unknown?q?f=FCr?=", "f\u{fc}r"),
        ("=?utf-8?x?abc?= =?utf-8?b?!?= =?", "=?utf-8?x?abc?= =?utf-8?b?!?= =?"),
        ("a =?utf-8?q?b?= c =?utf-8?q?d?=e", "a b c de"),
    ] {
        assert_eq!(subject(value).as_deref(), Some(text), "{value}");
    }
}

#[test]
fn subject_shows_no_control_and_no_direction_characters() {
    for (value, text) in [
        ("=?utf-8?q?a=0D=0AX-Forged:_1=00?=", "a  X-Forged: 1"),
        ("a\u{1b}[31mb\u{85}c", "a [31mb c"),
        ("invoice \u{202e}fdp.exe\u{202c}", "invoice fdp.exe"),
        ("=?utf-8?b?4oCuYQ==?=\u{2066}b\u{2069}\u{200f}", "ab"),
    ] {
        assert_eq!(subject(value).as_deref(), Some(text), "{value:?}");
    }
}

#[test]
fn long_subject_is_cut_between_characters() {
    for value in ["=?utf-8?q?=C3=BC?= ".repeat(3_000), "\u{fc}".repeat(30_000), "=?".repeat(30_000)]
    {
        let text = subject(value).unwrap();
        assert!(text.len() <= 998 && text.contains("..."), "{} bytes", text.len());
    }
}
