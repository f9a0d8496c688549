//! The decoder against the primitives that it is made of, in one run: the ratios of the design's bar.
//!
//! `cargo bench -p as2hook-as2` prints the table at its end. Times are the processor's, and
//! the best of all samples, for the decoder and the primitives alike: what else the machine does is
//! not the question.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints its table and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{hint::black_box, sync::Arc, time::Duration};

use as2hook_as2::{Decoder, Digest, Keyring, Options, SignatureStatus};
use criterion::Criterion;
use openssl::{
    cipher::Cipher as Primitive, cipher_ctx::CipherCtx, hash::Hasher, pkey_ctx::PkeyCtx,
    rsa::Padding,
};
use support::{
    Cipher, Envelope, Message, SignOptions, Signing,
    cms::{compressed_entity, message_digest},
    der::Encoding,
    identity::{PARTNER, STATION, keyring},
    mime::document,
};

const BULK: usize = 32 << 20;
const PUSH: usize = 64 * 1024;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let table = [bulk(&mut criterion), small(&mut criterion)].concat();
    println!("\n| what | ratio | bar |\n|---|---|---|");
    for (what, ratio, bar) in table {
        println!("| {what} | {ratio:.2} | {bar} |");
    }
    criterion.final_summary();
}

/// Seconds of the processor's time that a run takes, in the fastest sample. Runs are measured in
/// batches of so many, since reading the clock takes some microseconds.
fn best(criterion: &mut Criterion, name: &str, batch: u32, mut run: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let mut all = Duration::ZERO;
            for _ in 0..count {
                let begin = processor_time();
                (0..batch).for_each(|_| run());
                let took = (processor_time() - begin) / batch;
                best = best.min(took);
                all += took;
            }
            all
        });
    });
    best.as_secs_f64()
}

/// Of this thread: it does not grow while other processes have the processor.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn decode(message: &Message, keyring: &Arc<Keyring>) {
    let mut decoder = Decoder::new(&message.headers, keyring.clone(), Options::default());
    for piece in message.body.chunks(PUSH) {
        decoder.push(piece, &mut ());
    }
    let decoded = decoder.finish(true, &mut ());
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.attachments.len(), 1);
    assert_ne!(decoded.signature_status, Some(SignatureStatus::Invalid));
}

fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

/// One AES-256-CBC decryption and every digest that the message needs, in series.
fn bulk(criterion: &mut Criterion) -> Vec<(String, f64, &'static str)> {
    let content = random(BULK);
    let aes = best(criterion, "primitive/aes-256-cbc decrypt", 1, || {
        let mut context = CipherCtx::new().unwrap();
        context
            .decrypt_init(Some(Primitive::aes_256_cbc()), Some(&[1; 32]), Some(&[2; 16]))
            .unwrap();
        let mut out = vec![0; 16 * 1024 + 32];
        for piece in content.chunks(16 * 1024) {
            black_box(context.cipher_update(piece, Some(&mut out)).unwrap());
        }
    });
    let mut digest = |digest: Digest| {
        let name = format!("primitive/{}", digest.name());
        best(criterion, &name, 1, || {
            let mut hasher = Hasher::new(message_digest(digest)).unwrap();
            for piece in content.chunks(16 * 1024) {
                hasher.update(piece).unwrap();
            }
            black_box(hasher.finish().unwrap());
        })
    };
    let (sha1, sha256, sha512) =
        (digest(Digest::Sha1), digest(Digest::Sha256), digest(Digest::Sha512));
    let keyring = Arc::new(keyring());
    let mut table = Vec::new();
    // Each attachment is digested by SHA-256, each signed part by what the signature and MIC need.
    for (name, by, encoding, digests) in [
        ("DER, sha-256", Digest::Sha256, Encoding::Der, 2.0 * sha256),
        ("BER in segments of 4096, sha-256", Digest::Sha256, Encoding::Ber(4096), 2.0 * sha256),
        ("DER, sha-1", Digest::Sha1, Encoding::Der, sha256 + sha1),
        ("DER, sha-512", Digest::Sha512, Encoding::Der, sha256 + sha512),
    ] {
        let sign = SignOptions::new(&PARTNER, by);
        let signed =
            sign.entity(&document(&content), Signing::Detached { base64: true }, by.name());
        let sealed =
            Envelope { encoding, ..Envelope::to(&STATION, Cipher::Aes256Cbc) }.entity(&signed);
        let message = Message::of(&sealed);
        let took = best(criterion, &format!("bulk/{name}"), 1, || decode(&message, &keyring));
        table.push((
            format!("bulk, signed + AES-256-CBC, {name}: {:.2} GB/s", BULK as f64 / took / 1e9),
            (aes + digests) / took,
            "at least 0.70",
        ));
    }
    let text =
        document(&b"UNB+UNOC:3+SENDER:14+RECEIVER:14+261121:1200+4711'\r\n".repeat(BULK / 52));
    let message = Message::of(&compressed_entity(&text, Encoding::Ber(4096)));
    let took = best(criterion, "bulk/compressed text", 1, || decode(&message, &keyring));
    println!("compressed text: {:.2} GB/s of output", BULK as f64 / took / 1e9);
    table
}

/// A message of 4 KiB costs hardly more than its two RSA operations.
fn small(criterion: &mut Criterion) -> Vec<(String, f64, &'static str)> {
    let mut block = random(256);
    block[0] = 0;
    let mut private = PkeyCtx::new(&STATION.key).unwrap();
    private.decrypt_init().unwrap();
    private.set_rsa_padding(Padding::NONE).unwrap();
    let mut out = vec![0; 256];
    let private = best(criterion, "primitive/rsa-2048 private", 20, || {
        black_box(private.decrypt(&block, Some(&mut out)).unwrap());
    });
    let public = PARTNER.certificate.public_key().unwrap();
    let mut signature = Vec::new();
    let mut sign = PkeyCtx::new(&PARTNER.key).unwrap();
    sign.sign_init().unwrap();
    sign.set_rsa_padding(Padding::PKCS1).unwrap();
    sign.sign_to_vec(&[3; 32], &mut signature).unwrap();
    let mut verify = PkeyCtx::new(&public).unwrap();
    verify.verify_init().unwrap();
    verify.set_rsa_padding(Padding::PKCS1).unwrap();
    let public = best(criterion, "primitive/rsa-2048 public", 200, || {
        assert!(verify.verify(&[3; 32], &signature).unwrap());
    });
    let content = random(4096);
    let keyring = Arc::new(keyring());
    let mut table = Vec::new();
    for (name, encoding) in [("DER", Encoding::Der), ("BER", Encoding::Ber(1000))] {
        let sign = SignOptions::new(&PARTNER, Digest::Sha256);
        let signed =
            sign.entity(&document(&content), Signing::Detached { base64: true }, "sha-256");
        let sealed =
            Envelope { encoding, ..Envelope::to(&STATION, Cipher::Aes256Cbc) }.entity(&signed);
        let message = Message::of(&sealed);
        let took =
            best(criterion, &format!("small/4 KiB {name}"), 20, || decode(&message, &keyring));
        table.push((
            format!("4 KiB, RSA-2048, signed + encrypted, {name}: {:.0} µs", took * 1e6),
            took / (private + public),
            "at most 1.30",
        ));
    }
    table
}
