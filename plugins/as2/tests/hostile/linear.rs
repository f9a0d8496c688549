//! Bytes that made a parser read them again and again, cut into pieces or not: four times the bytes
//! may cost eight times as much, where sixteen would be quadratic.

use std::sync::Arc;

use as2hook_as2::{Decoder, Options, ber::oid};

use super::support::{
    Message,
    attack::in_segments,
    cms::{compressed_entity, content_info, smime},
    cpu::cost,
    der::{self, Encoding},
    entity,
    identity::keyring,
    mime::multipart,
};

/// CPU time of one byte at the most, in nanoseconds; a good one takes a hundredth.
const BYTE: f64 = if cfg!(debug_assertions) { 20_000.0 } else { 1000.0 };

/// Decodes what `make` gives for `size` and for four times that, in pushes of `cut` bytes.
fn assert_linear(what: &str, size: usize, cut: usize, make: impl Fn(usize) -> Vec<u8>) {
    let keyring = Arc::new(keyring());
    let decode = |entity: &[u8]| {
        let message = Message::of(entity);
        cost(|| {
            let mut decoder = Decoder::new(&message.headers, keyring.clone(), Options::default());
            for piece in message.body.chunks(cut) {
                decoder.push(piece, &mut ());
            }
            drop(decoder.finish(true, &mut ()));
        })
    };
    let (small, large) = (make(size), make(4 * size));
    let (small, large) = (decode(&small), decode(&large));
    let growth = large.as_secs_f64() / small.as_secs_f64();
    assert!(growth < 8.0, "{what}: {small:?} for {size}, {large:?} for four times that");
    let byte = large.as_nanos() as f64 / (4 * size) as f64;
    assert!(byte < BYTE, "{what}: {byte} ns a byte");
}

/// `count` parts with this header.
fn parts(count: usize, header: &str) -> Vec<u8> {
    let part = entity(&[header], b"");
    multipart("multipart/mixed", "B", &vec![part.as_slice(); count])
}

#[test]
fn header_line_without_a_colon_costs_the_same_in_pieces_of_one_byte() {
    let lines = |size: usize| multipart("multipart/mixed", "B", &[&[b'a'].repeat(size)]);
    assert_linear("in pushes", 15_000, 1, lines);
    assert_linear("in segments", 15_000, 1 << 16, |size| in_segments(&lines(size)));
    let compressed = |size| compressed_entity(&in_segments(&lines(size)), Encoding::Der);
    assert_linear("in compressed segments", 15_000, 1 << 16, compressed);
    let folds = |size: usize| parts(1, &format!("Content-Type: a/b{}", "\r\n x".repeat(size / 4)));
    assert_linear("folded", 15_000, 1, folds);
    let fields = |size: usize| multipart("multipart/mixed", "B", &[&b"x-a:\r\n".repeat(size / 6)]);
    assert_linear("of many fields", 15_000, 1, fields);
}

#[test]
fn encoded_words_that_never_end_are_read_once() {
    for word in
        ["=?", "=?a?q?b", "=?a?B?!", "=?a?q?x?", "=?utf-8?Q?=?=", "=", "?", "=?utf-8?B?QQ==?= "]
    {
        let header = |size: usize| {
            let words = word.repeat(size / 20 / word.len());
            format!("Content-Disposition: attachment; filename=\"{words}\"")
        };
        assert_linear(word, 200_000, 1 << 16, |size| parts(20, &header(size)));
    }
}

#[test]
fn parameters_of_every_shape_are_read_once() {
    for piece in
        ["; a", ";a=b", "; filename*0*=a", "; filename*=%41", ";x=\"\\\"", ";;;;", "; =", "'", "%4"]
    {
        let header = |size: usize| {
            let parameters = piece.repeat(size / 20 / piece.len());
            format!("Content-Disposition: attachment; filename={parameters}")
        };
        assert_linear(piece, 200_000, 1 << 16, |size| parts(20, &header(size)));
        let kind = |size: usize| {
            format!("Content-Type: multipart/mixed{}", piece.repeat(size / 20 / piece.len()))
        };
        assert_linear(piece, 200_000, 1 << 16, |size| parts(20, &kind(size)));
    }
}

#[test]
fn multipart_without_a_boundary_is_read_once() {
    for line in ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "-\n", "--\n"] {
        let body = |size: usize| {
            entity(&["Content-Type: multipart/mixed"], line.repeat(size / line.len()).as_bytes())
        };
        assert_linear(line, 100_000, 7, body);
    }
}

#[test]
fn what_looks_like_a_boundary_is_read_once() {
    let boundary = "b".repeat(1000);
    let header = format!("Content-Type: multipart/mixed; boundary={boundary}");
    for piece in [
        "\r\n-".to_owned(),
        "\n--b".to_owned(),
        format!("\n--{}", &boundary[1..]),
        format!("\n--{boundary}{}", " ".repeat(300)),
        format!("\r\n--{boundary}-"),
    ] {
        let body = |size: usize| {
            entity(
                &[&header, "Content-Transfer-Encoding: binary"],
                piece.repeat(size / piece.len()).as_bytes(),
            )
        };
        for cut in [1, 100, 1 << 16] {
            assert_linear(&piece, 40_000, cut, body);
        }
    }
}

#[test]
fn parts_without_end_cost_what_their_bytes_do() {
    let header = "Content-Type: multipart/mixed; boundary=b";
    for (header, part) in [
        (header, "--b\r\n"),
        (header, "--b\r\n\r\n"),
        (header, "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"),
        ("Content-Type: multipart/signed; boundary=b", "--b\r\n"),
        ("Content-Type: multipart/report; boundary=b", "--b\r\n\r\n"),
        ("Content-Type: multipart/report; boundary=b", "--b\r\n\r\nDisposition: x\r\n"),
        (
            "Content-Type: multipart/report; boundary=b",
            "--b\r\n\r\nDisposition: x\r\nReporting-UA: y\r\n",
        ),
    ] {
        let body = |size: usize| entity(&[header], part.repeat(size / part.len()).as_bytes());
        // Beyond the thousandth part none is looked into: both sizes are beyond it.
        assert_linear(part, 100_000, 1 << 16, body);
    }
}

#[test]
fn report_parts_within_parts_are_read_once_for_each_depth() {
    let report = |size: usize| {
        let mut part = b"--c\n".repeat(size / 10 / 4);
        for boundary in ["c", "d", "e"] {
            part = multipart("multipart/mixed", boundary, &[&part]);
        }
        multipart("multipart/report", "b", &[part.as_slice(); 10])
    };
    assert_linear("report", 100_000, 1 << 16, report);
    let fields = |size: usize| {
        let fields = "Disposition: \r\n".repeat(size / 15);
        entity(&["Content-Type: message/disposition-notification"], fields.as_bytes())
    };
    assert_linear("fields", 15_000, 1, fields);
}

#[test]
fn transfer_encodings_are_decoded_once() {
    for (encoding, piece) in [
        ("quoted-printable", "= \t"),
        ("quoted-printable", "=\r\n"),
        ("quoted-printable", " "),
        ("quoted-printable", "=A"),
        ("base64", "="),
        ("base64", "QQ=="),
        ("base64", "Q\n"),
        ("base64", "Q"),
    ] {
        let header = format!("Content-Transfer-Encoding: {encoding}");
        let body = |size: usize| entity(&[&header], piece.repeat(size / piece.len()).as_bytes());
        for cut in [1, 1 << 16] {
            assert_linear(piece, 50_000, cut, body);
        }
    }
}

#[test]
fn elements_within_elements_are_read_once_for_each_depth() {
    let around = |id: &[u8], fields: Vec<u8>| {
        smime("any", &content_info(Encoding::Der, id, &der::tlv(0x30, &fields)))
    };
    let nested = |elements: Vec<u8>, open: u8| {
        (0..12).fold(elements, |inside, _| [&[open, 0x80][..], &inside, &[0, 0]].concat())
    };
    let recipients = |size: usize, element: &[u8], open: u8| {
        let set = der::tlv(0x31, &nested(element.repeat(size / element.len()), open));
        let algorithm = der::seq(&[&der::oid(oid::AES128_CBC), &der::octets(&[0; 16])]);
        let content = der::seq(&[&der::oid(oid::DATA), &algorithm, &der::tlv(0x80, &[0; 32])]);
        around(oid::ENVELOPED_DATA, [der::int(0), set, content].concat())
    };
    let signers = |size: usize, element: &[u8], open: u8| {
        let content = der::seq(&[&der::oid(oid::DATA), &der::tlv(0xa0, &der::octets(b"\r\nx"))]);
        let set = der::tlv(0x31, &nested(element.repeat(size / element.len()), open));
        let algorithms = der::set(&[&der::seq(&[&der::oid(oid::SHA256)])]);
        around(oid::SIGNED_DATA, [der::int(1), algorithms, content, set].concat())
    };
    for (element, open) in [
        (&[0x30, 0][..], 0x30),
        (&[0x30, 0x80, 0, 0], 0x30),
        (&[4, 1, 9], 0x24),
        (&[0x24, 0x80, 0, 0], 0x24),
        (&[5, 0], 0xa0),
    ] {
        assert_linear("recipients", 50_000, 1 << 16, |size| recipients(size, element, open));
        assert_linear("recipients", 50_000, 1, |size| recipients(size, element, open));
        assert_linear("signers", 50_000, 1 << 16, |size| signers(size, element, open));
    }
}

#[test]
fn dispositions_of_separators_are_read_once() {
    let kind = "multipart/report; report-type=disposition-notification";
    for disposition in [";", ";x-", "; x", "(", "error,", "a/", "-action;", "error,(", ")("] {
        let fields = format!(
            "Original-Message-ID: <1@a>\r\nDisposition: {}\r\n",
            disposition.repeat(990 / disposition.len())
        );
        let notification =
            entity(&["Content-Type: message/disposition-notification"], fields.as_bytes());
        let report = multipart(kind, "r", &[&notification]);
        // Behind an alternative another report may follow.
        let part = multipart("multipart/alternative", "a", &[&report]);
        let body = |size: usize| {
            multipart("multipart/mixed", "m", &vec![part.as_slice(); size / part.len()])
        };
        assert_linear(disposition, 50_000, 1 << 16, body);
    }
}

#[test]
fn digests_of_signatures_within_signatures_are_bounded() {
    let kind = "multipart/signed; micalg=\"sha3-512,sha3-384,sha3-256,sha3-224,other\"";
    let body = |size: usize| {
        let lines = entity(&["Content-Type: text/plain"], &b"1234567\n".repeat(size / 8));
        (0..15).fold(lines, |inside, layer| {
            multipart(kind, &format!("b{layer}"), &[&inside, b"Content-Type: a/b\r\n\r\nx"])
        })
    };
    assert_linear("digests", 500_000, 1 << 16, body);
}
