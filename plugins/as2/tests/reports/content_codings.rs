//! Content codings of HTTP around a body (pyas2#34, oxalis#174).

use std::{io::Write as _, sync::Arc};

use as2hook_as2::{
    ContentKind, ContentReceiver, Decoder, Digest, Keyring, Options, SignatureStatus,
};
use flate2::Compression;

use super::{
    decoded,
    support::{
        Message, SignOptions, Signing, codes,
        coding::{deflated, gzip, zlib},
        decode_cut,
        identity::{PARTNER, keyring},
        mime::document,
    },
};

type Code = fn(&[u8]) -> Vec<u8>;

/// With all that a header may have (RFC 1952 section 2.3).
fn gzip_with_fields(body: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().filename("orders").comment("an order").extra("x");
    let mut encoder = builder.write(Vec::new(), Compression::none());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn gzip_members(body: &[u8]) -> Vec<u8> {
    let (begin, rest) = body.split_at(body.len() / 2);
    [gzip(begin), gzip(b""), gzip(rest), vec![0; 512]].concat()
}

fn same(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

fn signed() -> Message {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let shape = Signing::Detached { base64: true };
    Message::of(&sign.entity(&document(&b"UNA:+.? 'UNB".repeat(300)), shape, "sha-256"))
}

fn coded(name: &str, code: Code) -> Message {
    let message = signed();
    Message { body: code(&message.body), ..message }.with("Content-Encoding", name)
}

#[test]
fn body_is_the_same_under_each_content_coding() {
    let (plain, kept) = decoded(&signed(), &keyring());
    assert_eq!((codes(&plain), plain.signature_status), (vec![], Some(SignatureStatus::Valid)));
    let cases: [(&str, Code); 19] = [
        ("gzip", gzip),
        ("GZIP", gzip),
        (" x-gzip ", gzip),
        ("gzip", gzip_with_fields),
        ("gzip", gzip_members),
        ("deflate", zlib),
        ("deflate", deflated),
        ("identity", same),
        ("", same),
        (", ,", same),
        ("8bit", same),
        ("Binary", same),
        ("7bit", same),
        ("None", same),
        ("UTF-8", same),
        ("gzip, deflate", |body| deflated(&gzip(body))),
        ("deflate,,gzip", |body| gzip(&zlib(body))),
        ("identity, gzip", gzip),
        ("gzip,gzip,deflate,gzip", |body| gzip(&zlib(&gzip(&gzip(body))))),
    ];
    for (name, code) in cases {
        let (decoded, again) = decoded(&coded(name, code), &keyring());
        assert_eq!((&decoded, &again.bytes), (&plain, &kept.bytes), "{name}");
    }
    let two_fields = coded("gzip", |body| zlib(&gzip(body))).with("content-encoding", "deflate");
    assert_eq!(decoded(&two_fields, &keyring()).0, plain);
}

#[test]
fn empty_body_is_coded_by_none() {
    let plain = Message { body: Vec::new(), ..Message::of(&document(b"")) };
    let (decoded_plain, _) = decoded(&plain, &keyring());
    let (empty, _) = decoded(&plain.with("Content-Encoding", "gzip, deflate"), &keyring());
    assert_eq!(empty, decoded_plain);
}

#[test]
fn unknown_coding_is_1100_with_its_name_and_nothing_is_known_of_the_content() {
    let long = "x".repeat(9_000);
    for (name, shown) in [
        ("br", "br"),
        ("gzip, Zstd", "Zstd"),
        ("compress", "compress"),
        ("gzip;q=1", "gzip,q=1"),
        ("zstd", "zstd"),
        (long.as_str(), &long[..64]),
    ] {
        let (decoded, kept) = decoded(&coded(name, gzip), &keyring());
        assert_eq!(codes(&decoded), [1100]);
        assert_eq!(decoded.errors[0].message, format!("the content coding {shown} is not known"));
        assert_eq!((decoded.signed, decoded.encrypted, decoded.compressed), (None, None, None));
        assert_eq!((decoded.signature_status, decoded.kind), (None, ContentKind::Message));
        assert!(kept.bytes.is_empty() && decoded.attachments.is_empty());
    }
}

#[test]
fn more_codings_than_any_server_applies_are_1300() {
    let name = ["gzip"; 5].join(", ");
    let (decoded, _) = decoded(&coded(&name, gzip), &keyring());
    assert_eq!(codes(&decoded), [1300]);
    assert_eq!(decoded.errors[0].message, "content codings over the limit of 4");
    let names = ["gzip"; 30_000].join(",");
    assert_eq!(codes(&super::decoded(&coded(&names, gzip), &keyring()).0), [1300]);
}

#[test]
fn damaged_coding_is_1000_and_nothing_of_the_content_counts_however_it_is_cut() {
    let (gzipped, zlibbed) = (coded("gzip", gzip), coded("deflate", zlib));
    let damage = |message: &Message, at: usize| {
        let mut message = message.clone();
        message.body[at] ^= 0x40;
        message
    };
    let short = |message: &Message| {
        let mut message = message.clone();
        message.body.pop();
        message
    };
    let end = gzipped.body.len();
    for message in [
        damage(&gzipped, 0),
        damage(&gzipped, end / 2),
        damage(&gzipped, end - 6),
        damage(&gzipped, end - 2),
        short(&gzipped),
        damage(&zlibbed, zlibbed.body.len() - 2),
        short(&zlibbed),
        coded("gzip", same),
        coded("deflate", |_| vec![0x78]),
        coded("gzip", |body| [gzip(body), vec![0x1f, 0, 1]].concat()),
        coded("gzip, gzip", gzip),
    ] {
        // What the sink got is provisional.
        let decode =
            |sizes: &[usize]| decode_cut(&message, &keyring(), Options::default(), sizes).0;
        let decoded = decode(&[message.body.len()]);
        assert_eq!(codes(&decoded), [1000], "{:?}", decoded.errors);
        let name = message.headers.text("Content-Encoding").unwrap();
        let name = name.split(", ").next().unwrap();
        let text = format!("the body's content coding {name} is damaged");
        assert_eq!(decoded.errors[0].message, text);
        assert_eq!((decoded.signed, decoded.signature_status), (None, None));
        assert!(decoded.attachments.is_empty());
        for sizes in [&[1][..], &[5, 90, 1]] {
            assert_eq!(decode(sizes), decoded, "cut by {sizes:?}");
        }
    }
}

/// Keeps the body as the sink gets it.
#[derive(Default)]
struct Body(Vec<u8>);

impl ContentReceiver for Body {
    fn body(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[test]
fn sink_gets_the_body_without_its_codings_also_where_it_cannot_be_decoded() {
    let decode = |message: &Message| {
        let mut body = Body::default();
        let mut decoder =
            Decoder::new(&message.headers, Arc::new(Keyring::new()), Options::default());
        message.body.chunks(7).for_each(|piece| decoder.push(piece, &mut body));
        (decoder.finish(true, &mut body), body.0)
    };
    let plain = signed();
    for message in [plain.clone(), coded("gzip", gzip), coded("gzip, deflate", |b| zlib(&gzip(b)))]
    {
        assert!(decode(&message).1 == plain.body);
        let twice = message.with("Content-Type", "text/plain");
        let (decoded, body) = decode(&twice);
        assert_eq!(codes(&decoded), [1100]);
        assert!(body == plain.body);
    }
}
