//! How much memory a hostile message takes, whatever its nesting. Each is decoded by a process of its
//! own, in which nothing else has left memory behind: this one again, which decodes what [`FILE`] names.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and the process that is measured prints what it took"
)]

mod support;

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader},
    process::Command,
    sync::Arc,
};

use as2hook_as2::{Decoder, Digest, Headers, Keyring, MAX_MEMORY, Options, StationKey, ber::oid};
use openssl::{pkey::PKey, x509::X509};
use support::{
    Cipher, Envelope, Message, SignOptions, Signing,
    cms::{compressed_entity, content_info, smime},
    der::{self, Encoding},
    entity,
    identity::{PARTNER, STATION},
    mime::{document, multipart},
};

/// Of `/proc/self/status`, in bytes.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// The file of the message that this process is to decode.
const FILE: &str = "AS2HOOK_TEST_MEMORY_OF";

/// By how much a process grows at its peak that decodes this.
fn growth(message: &Message) -> u64 {
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = STATION.key.private_key_to_der().unwrap();
    let certificate = STATION.certificate.to_der().unwrap();
    let head = serde_json::to_vec(&(&message.headers, key, certificate)).unwrap();
    fs::write(&file, [&head, &b"\n"[..], &message.body].concat()).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(FILE, file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).unwrap();
    output.lines().find_map(|line| line.strip_prefix("grown by ")).unwrap().parse().unwrap()
}

fn decode(path: &OsStr) {
    let mut file = BufReader::with_capacity(64 * 1024, File::open(path).unwrap());
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line).unwrap();
    let (headers, key, certificate): (Headers, Vec<u8>, Vec<u8>) =
        serde_json::from_slice(&line).unwrap();
    let mut keyring = Keyring::new();
    keyring.add_key(StationKey {
        certificate: X509::from_der(&certificate).unwrap(),
        private_key: PKey::private_key_from_der(&key).unwrap(),
    });
    let keyring = Arc::new(keyring);
    // The peak is counted from here on.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let mut decoder = Decoder::new(&headers, keyring, Options::default());
    loop {
        let piece = file.fill_buf().unwrap();
        if piece.is_empty() {
            break;
        }
        decoder.push(piece, &mut ());
        let count = piece.len();
        file.consume(count);
    }
    let decoded = decoder.finish(true, &mut ());
    println!("\ngrown by {}", memory("VmHWM:") - before);
    println!("{:?}", decoded.errors);
}

fn layers(count: usize, inner: Vec<u8>, around: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    (0..count).fold(inner, |inner, _| around(&inner))
}

fn signed(content: &[u8], signature: &[u8]) -> Vec<u8> {
    let part = entity(&["Content-Type: application/pkcs7-signature"], signature);
    // Each layer with a boundary of its own.
    let boundary = format!("b{}", content.len());
    multipart("multipart/signed; micalg=sha-256", &boundary, &[content, &part])
}

const NAME: &str = "hostile_message_takes_at_most_its_share_of_memory_whatever_its_nesting";

#[test]
fn hostile_message_takes_at_most_its_share_of_memory_whatever_its_nesting() {
    if let Some(path) = env::var_os(FILE) {
        return decode(&path);
    }
    let large = document(&vec![b'x'; 1_100_000]);
    let long = "n".repeat(64_000);
    let part = entity(&[&format!("Content-Type: a/{long}")], b"x");
    let names = multipart("multipart/mixed", "b", &vec![part.as_slice(); 250]);
    let fields = entity(&["a:"; 999], b"x");
    let fields = multipart("multipart/mixed", "b", &vec![fields.as_slice(); 900]);
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let opaque = |content: &[u8]| sign.entity(content, Signing::Opaque(Encoding::Ber(70_000)), "x");
    let compress = |content: &[u8]| compressed_entity(content, Encoding::Der);
    let seal = |content: &[u8]| Envelope::to(&STATION, Cipher::Aes256Cbc).entity(content);
    // 250 KB of structure in front of the content.
    let prologue = |content: &[u8]| {
        let algorithm = der::seq(&[&der::oid(oid::SHA256)]);
        let fields = [
            der::int(1),
            der::tlv(0x31, &algorithm.repeat(250_000 / algorithm.len())),
            der::seq(&[&der::oid(oid::DATA), &der::tlv(0xa0, &der::octets(content))]),
            der::set(&[]),
        ];
        smime(
            "signed-data",
            &content_info(Encoding::Der, oid::SIGNED_DATA, &der::tlv(0x30, &fields.concat())),
        )
    };
    // A signature of a mebibyte in elements within elements.
    let nested = (0..30).fold([5, 0].repeat(490_000), |inside, _| der::tlv(0x30, &inside));
    let segments = (0..30).fold([4, 1, 9].repeat(300_000), |inside, _| {
        [&[0x24, 0x80][..], &inside, &[0, 0]].concat()
    });
    let token_lines = b"abcdefgh".repeat(7_900);
    for (what, entity) in [
        ("long names", names.clone()),
        ("long names in layers", layers(8, names, compress)),
        ("fields", layers(8, fields, compress)),
        ("compressed", layers(14, large.clone(), compress)),
        ("sealed", layers(14, large.clone(), seal)),
        ("opaque", layers(14, large.clone(), opaque)),
        ("prologues", layers(14, large.clone(), prologue)),
        ("nested signature", signed(&large, &nested)),
        ("segmented signature", signed(&large, &segments)),
        ("signed", layers(13, large, |content| signed(content, &nested))),
        ("headers that are none", layers(14, token_lines, |inner| smime("any", inner))),
    ] {
        let message = Message::of(&entity);
        drop(entity);
        let grown = growth(&message);
        println!("{what}: {} KiB", grown / 1024);
        assert!(grown <= MAX_MEMORY, "{what}: {} KiB", grown / 1024);
    }
}
