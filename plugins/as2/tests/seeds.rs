//! Writes the fuzz targets' seeds, and checks that those which are there are of use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::PathBuf};

use as2hook_as2::Digest;
use support::{
    Cipher, Envelope, KeyWay, Recipient, SignOptions, Signing,
    attack::{bomb, certificate, in_segments, signed},
    cms::{base64_lines, compressed_entity},
    der::Encoding,
    entity,
    identity::{PARTNER_EC, STATION},
    mime::{document, multipart},
};

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn body(entity: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(entity, b"\r\n\r\n").unwrap();
    &entity[end + 4..]
}

const FIELDS: [&str; 4] = [
    "Reporting-UA: x\r\nOriginal-Recipient: rfc822; A\r\nFinal-Recipient: rfc822; A\r\nOriginal-Message-ID: <1@a>\r\n\
     Disposition: automatic-action/MDN-sent-automatically; processed\r\nReceived-Content-MIC: eA==, sha-256\r\n",
    "disposition: automatic-action/mdn-sent-automatically;processed/ERROR: authentication-failed\r\n",
    "Disposition: automatic-action/MDN-sent-automatically;\r\n\tfailed/failure: unsupported format\r\nFailure: x\r\n",
    "Disposition: automatic-action/MDN-sent-automatically; processed/warning: duplicate-document\nWarning: y\n",
];

/// By target: name and input.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let sign = SignOptions::new(&PARTNER_EC, Digest::Sha256);
    let document = document(b"UNA:+.? '\r\nUNB+UNOC:3+A:14+B:14'\r\n");
    let detached = sign.entity(&document, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(&document, Signing::Opaque(Encoding::Ber(50)), "sha-256");
    let compressed = compressed_entity(&detached, Encoding::Der);
    let oaep = Recipient {
        certificate: &STATION.certificate,
        way: KeyWay::Oaep(Digest::Sha256, Digest::Sha1),
        by_key_identifier: true,
    };
    let seal = Envelope::to(&STATION, Cipher::Aes256Cbc);
    let envelopes = [
        seal.entity(&detached),
        Envelope { encoding: Encoding::Ber(100), ..seal.clone() }.entity(&opaque),
        Envelope { cipher: Cipher::Aes128Gcm, recipients: vec![oaep], ..seal.clone() }
            .entity(&document),
        Envelope {
            cipher: Cipher::Aes256Gcm,
            authenticated: true,
            attributes: true,
            ..seal.clone()
        }
        .entity(&compressed),
        Envelope { cipher: Cipher::Rc2(40), encoding: Encoding::Nested(40), ..seal.clone() }
            .entity(&document),
    ];
    let text = entity(&["Content-Type: text/plain"], b"received");
    let report = |fields: &str| {
        let part = entity(&["Content-Type: message/disposition-notification"], fields.as_bytes());
        multipart("multipart/report", "r", &[&text, &part])
    };
    let mut all = Vec::new();
    let mut add = |target, name: String, head: &[u8], body: &[u8]| {
        all.push((target, name, [head, body].concat()));
    };
    for (n, envelope) in envelopes.iter().enumerate() {
        add("decoder", format!("envelope-{n}"), &[1, 7], body(envelope));
        add("ber", format!("envelope-{n}"), &[7, 3], body(envelope));
    }
    add("decoder", "envelope-base64".into(), &[13, 50], &base64_lines(body(&envelopes[0])));
    add("decoder", "envelope-unnamed".into(), &[0, 50], body(&envelopes[1]));
    add("decoder", "opaque".into(), &[2, 9], body(&opaque));
    add("ber", "opaque".into(), &[1, 0], body(&opaque));
    add("decoder", "compressed".into(), &[3, 9], body(&compressed));
    add("ber", "compressed".into(), &[200, 5], body(&compressed));
    add("decoder", "signed".into(), &[4, 9], body(&detached));
    add("decoder", "signed-unnamed".into(), &[10, 9], &detached);
    let related = multipart("multipart/related", "=_r", &[&document, &text]);
    add("decoder", "related".into(), &[7, 3], body(&related));
    add("decoder", "document-quoted".into(), &[35, 3], b"=C3=BC=\r\n x \t\r\n=zz");
    for (n, fields) in FIELDS.iter().enumerate() {
        add("decoder", format!("report-{n}"), &[6, 3], body(&report(fields)));
        add("decoder", format!("notification-{n}"), &[9, 3], fields.as_bytes());
        add("mdn", format!("fields-{n}"), &[], fields.as_bytes());
    }
    add("splitter", "related".into(), &[3, 3], &[b"=_r", body(&related)].concat());
    add("splitter", "signed".into(), &[1, 17], &[b"----=_Part_7_42.1", body(&detached)].concat());
    add(
        "splitter",
        "tricky".into(),
        &[2, 1],
        b"bpre\n--b \t\r\n--b\n\n\r\n--bb\r\n--b--x\r\n--b-\r\n--b--\r\nend",
    );
    // What costs much, small enough for a fuzzer.
    let text = entity(&["Content-Type: text/plain"], b"hello");
    add("decoder", "bomb".into(), &[3, 9], body(&bomb(2, 20).entity()));
    let slow = signed(&text, &vec![certificate(1024, 64); 3], 3, true);
    add("decoder", "signers".into(), &[2, 50], body(&slow));
    let line = multipart("multipart/mixed", "B", &[&[b'a'; 500]]);
    add("decoder", "segments".into(), &[2, 50], body(&in_segments(&line)));
    let layers = (0..6).fold(signed(&text, &[], 1, false), |inside, _| {
        compressed_entity(&inside, Encoding::Ber(3))
    });
    add("decoder", "layers".into(), &[3, 1], body(&layers));
    for (n, name) in NAMES.iter().enumerate() {
        add("names", format!("name-{n}"), &[0], name.as_bytes());
    }
    add("names", "type".into(), &[1], b"multipart/mixed; boundary=\"a b\"; name*0*=utf-8''%C3");
    all
}

const NAMES: [&str; 6] = [
    "attachment; filename=\"=?=?=?=?utf-8?Q?x?==?utf-8?B?QQ==?=\"",
    "attachment; filename*1*=%E4.txt; filename*0*=iso-8859-1''%FC",
    "attachment; filename=\"\\\"a\\\\b\"; filename*=utf-8''..%2F..%0D%0Ax",
    "attachment; filename=C:\\x\\=?a?q?b=?a?B?!=?iso-2022-jp?B?GyRCRnwbKEI=?=",
    ";;;=;*=;*0=;filename*99999999999*=x;filename",
    "\"attachment; filename=x\"",
];

#[test]
#[ignore = "writes into the repository"]
fn write() {
    let identity = fuzz().join("identity");
    fs::create_dir_all(&identity).unwrap();
    fs::write(identity.join("station.crt"), STATION.certificate.to_pem().unwrap()).unwrap();
    fs::write(identity.join("station.key"), STATION.key.private_key_to_pem_pkcs8().unwrap())
        .unwrap();
    fs::write(identity.join("partner.crt"), PARTNER_EC.certificate.to_pem().unwrap()).unwrap();
    for (target, name, input) in seeds() {
        let folder = fuzz().join("seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), input).unwrap();
    }
}

#[test]
fn every_target_has_its_seeds() {
    for (target, name, _) in seeds() {
        assert!(fuzz().join("seeds").join(target).join(&name).is_file(), "{target}/{name}");
    }
}
