//! The decoder against the primitives that it is made of, in one run: the ratios of the
//! table in `README.md`.
//!
//! `cargo bench -p as2hook-as2` prints the table at its end. Times are the processor's, the
//! best of several rounds in which decoder and primitives take turns: what else the machine does is
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
const ROUNDS: u32 = 8;

/// Something to measure, in batches of so many runs: the kernel brings the clock that is read up to
/// date every few milliseconds only.
struct Run<'a> {
    name: String,
    batch: u32,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Run<'a> {
    fn new(name: impl Into<String>, batch: u32, run: impl FnMut() + 'a) -> Self {
        Self { name: name.into(), batch, run: Box::new(run) }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let table = [bulk(&mut criterion), small(&mut criterion)].concat();
    println!("\n| what | ratio | bar |\n|---|---|---|");
    for (what, ratio, bar) in table {
        println!("| {what} | {ratio:.2} | {bar} |");
    }
    criterion.final_summary();
}

/// Seconds of the processor's time that each run takes in its fastest round.
fn fastest(criterion: &mut Criterion, runs: &mut [Run<'_>]) -> Vec<f64> {
    let mut best = vec![Duration::MAX; runs.len()];
    for _ in 0..ROUNDS {
        for (run, best) in runs.iter_mut().zip(&mut best) {
            let begin = processor_time();
            (0..run.batch).for_each(|_| (run.run)());
            *best = (*best).min((processor_time() - begin) / run.batch);
        }
    }
    for run in runs {
        criterion.bench_function(&run.name, |bencher| bencher.iter(|| (run.run)()));
    }
    best.iter().map(Duration::as_secs_f64).collect()
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

/// Signed by this digest, then encrypted.
fn sealed(content: &[u8], by: Digest, encoding: Encoding) -> Message {
    let sign = SignOptions::new(&PARTNER, by);
    let signed = sign.entity(&document(content), Signing::Detached { base64: true }, by.name());
    let envelope = Envelope { encoding, ..Envelope::to(&STATION, Cipher::Aes256Cbc) };
    Message::of(&envelope.entity(&signed))
}

/// One AES-256-CBC decryption and every digest that the message needs, in series: SHA-256 for the
/// attachment; SHA-1, SHA-256 and the announced one for what is signed.
fn bulk(criterion: &mut Criterion) -> Vec<(String, f64, &'static str)> {
    let content = random(BULK);
    let keyring = Arc::new(keyring());
    let digest = |digest: Digest| {
        let content = &content;
        Run::new(format!("primitive/{}", digest.name()), 4, move || {
            let mut hasher = Hasher::new(message_digest(digest)).unwrap();
            for piece in content.chunks(16 * 1024) {
                hasher.update(piece).unwrap();
            }
            black_box(hasher.finish().unwrap());
        })
    };
    let aes = Run::new("primitive/aes-256-cbc decrypt", 16, || {
        let mut context = CipherCtx::new().unwrap();
        let cipher = Some(Primitive::aes_256_cbc());
        context.decrypt_init(cipher, Some(&[1; 32]), Some(&[2; 16])).unwrap();
        let mut out = vec![0; 16 * 1024 + 32];
        for piece in content.chunks(16 * 1024) {
            black_box(context.cipher_update(piece, Some(&mut out)).unwrap());
        }
    });
    let mut runs = vec![aes, digest(Digest::Sha1), digest(Digest::Sha256), digest(Digest::Sha512)];
    let kinds = [
        ("DER, sha-256", Digest::Sha256, Encoding::Der),
        ("BER in segments of 4096, sha-256", Digest::Sha256, Encoding::Ber(4096)),
        ("DER, sha-1", Digest::Sha1, Encoding::Der),
        ("DER, sha-512", Digest::Sha512, Encoding::Der),
    ];
    for (name, by, encoding) in kinds {
        let (message, keyring) = (sealed(&content, by, encoding), keyring.clone());
        runs.push(Run::new(format!("bulk/{name}"), 4, move || decode(&message, &keyring)));
    }
    let text =
        document(&b"UNB+UNOC:3+SENDER:14+RECEIVER:14+261121:1200+4711'\r\n".repeat(BULK / 52));
    let message = Message::of(&compressed_entity(&text, Encoding::Ber(4096)));
    runs.push(Run::new("bulk/compressed text", 4, move || decode(&message, &keyring)));
    let times = fastest(criterion, &mut runs);
    let &[aes, sha1, sha256, sha512, ref decoded @ .., text] = times.as_slice() else {
        return vec![];
    };
    println!("compressed text: {:.2} GB/s of output", BULK as f64 / text / 1e9);
    // SHA-256 and SHA-1 run over every signed content that is not kept, whatever is announced.
    let rows = kinds.iter().zip(decoded).zip([0.0, 0.0, 0.0, sha512]);
    rows.map(|(((name, ..), took), other)| {
        let speed = BULK as f64 / took / 1e9;
        let what = format!("bulk, signed + AES-256-CBC, {name}: {speed:.2} GB/s");
        (what, (aes + sha256 + (sha256 + sha1 + other)) / took, "at least 0.70")
    })
    .collect()
}

/// A message of 4 KiB costs hardly more than its two RSA operations.
fn small(criterion: &mut Criterion) -> Vec<(String, f64, &'static str)> {
    let mut block = random(256);
    block[0] = 0;
    let mut private = PkeyCtx::new(&STATION.key).unwrap();
    private.decrypt_init().unwrap();
    private.set_rsa_padding(Padding::NONE).unwrap();
    let mut out = vec![0; 256];
    let mut signature = Vec::new();
    let mut sign = PkeyCtx::new(&PARTNER.key).unwrap();
    sign.sign_init().unwrap();
    sign.set_rsa_padding(Padding::PKCS1).unwrap();
    sign.sign_to_vec(&[3; 32], &mut signature).unwrap();
    let mut verify = PkeyCtx::new(&PARTNER.certificate.public_key().unwrap()).unwrap();
    verify.verify_init().unwrap();
    verify.set_rsa_padding(Padding::PKCS1).unwrap();
    let content = random(4096);
    let keyring = Arc::new(keyring());
    let der = sealed(&content, Digest::Sha256, Encoding::Der);
    let ber = sealed(&content, Digest::Sha256, Encoding::Ber(1000));
    let mut runs = [
        Run::new("primitive/rsa-2048 private", 300, || {
            black_box(private.decrypt(&block, Some(&mut out)).unwrap());
        }),
        Run::new("primitive/rsa-2048 public", 5000, || {
            assert!(verify.verify(&[3; 32], &signature).unwrap());
        }),
        Run::new("small/4 KiB DER", 300, || decode(&der, &keyring)),
        Run::new("small/4 KiB BER", 300, || decode(&ber, &keyring)),
    ];
    let times = fastest(criterion, &mut runs);
    let &[private, public, ref decoded @ ..] = times.as_slice() else { return vec![] };
    let rows = ["DER", "BER"].iter().zip(decoded);
    rows.map(|(name, took)| {
        let what = format!("4 KiB, RSA-2048, signed + encrypted, {name}: {:.0} µs", took * 1e6);
        (what, took / (private + public), "at most 1.30")
    })
    .collect()
}
