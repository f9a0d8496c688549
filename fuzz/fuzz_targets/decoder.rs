//! The whole decoder: any body under the headers that the first byte chooses, cut by the second.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use std::sync::{Arc, LazyLock};

use as2hook_as2::{ContentReceiver, Decoded, Decoder, Headers, Keyring, DecoderLimits, Options, StationKey};
use libfuzzer_sys::fuzz_target;
use openssl::{pkey::PKey, x509::X509};

const KINDS: [&str; 12] = [
    "",
    "application/pkcs7-mime; smime-type=enveloped-data",
    "application/pkcs7-mime; smime-type=signed-data",
    "application/x-pkcs7-mime; smime-type=compressed-data",
    "multipart/signed; boundary=\"----=_Part_7_42.1\"; micalg=sha-256",
    "multipart/signed; boundary=b; micalg=\"sha1, md5\"",
    "multipart/report; report-type=disposition-notification; boundary=r",
    "multipart/related; boundary=\"=_r\"",
    "multipart/mixed",
    "message/disposition-notification",
    "text/html",
    "application/edifact; name=\"=?utf-8?Q?x?=\"",
];

const TRANSFERS: [&str; 4] = ["", "base64", "quoted-printable", "binary"];

static KEYRING: LazyLock<Arc<Keyring>> = LazyLock::new(|| {
    let certificate = |pem: &[u8]| X509::from_pem(pem).unwrap();
    let mut keyring = Keyring::new();
    keyring.add_key(StationKey {
        certificate: certificate(include_bytes!("../identity/station.crt")),
        private_key: PKey::private_key_from_pem(include_bytes!("../identity/station.key")).unwrap(),
    });
    keyring.add_certificate("PARTNER", certificate(include_bytes!("../identity/partner.crt")));
    Arc::new(keyring)
});

/// Counts, and checks the order of what it is told.
#[derive(Default)]
struct Counting {
    begun: usize,
    bytes: u64,
}

impl ContentReceiver for Counting {
    fn begin(&mut self, index: usize, name: Option<&str>, _: &Headers) {
        assert_eq!(index, self.begun);
        assert!(name.is_none_or(|n| !n.contains(['/', '\\', '\r', '\n', '\0'])));
        self.begun += 1;
    }

    fn data(&mut self, index: usize, bytes: &[u8]) {
        assert_eq!(index + 1, self.begun);
        self.bytes += bytes.len() as u64;
    }
}

fn decode(headers: &Headers, body: &[u8], size: usize) -> (Decoded, u64) {
    let limits = DecoderLimits { decoded: 1 << 20, attachments: 50, header: 4096, ..DecoderLimits::default() };
    let options = Options { limits, legacy_algorithms: true };
    let mut sink = Counting::default();
    let mut decoder = Decoder::new(headers, KEYRING.clone(), options);
    for piece in body.chunks(size) {
        decoder.push(piece, &mut sink);
    }
    assert!(sink.begun <= 50 && sink.bytes <= (1 << 20));
    (decoder.finish(true, &mut sink), sink.bytes)
}

fuzz_target!(|input: &[u8]| weigh::weigh(input.len(), || run(input)));

fn run(input: &[u8]) {
    let [choice, size, body @ ..] = input else { return };
    let mut headers = Headers::new();
    headers.push("AS2-From", "PARTNER");
    headers.push(
        "Disposition-Notification-Options",
        "signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-256",
    );
    let choice = usize::from(*choice);
    headers.push("Content-Type", KINDS[choice % KINDS.len()]);
    headers.push("Content-Transfer-Encoding", TRANSFERS[choice / KINDS.len() % TRANSFERS.len()]);
    let (whole, _) = decode(&headers, body, body.len().max(1));
    let (cut, _) = decode(&headers, body, usize::from(*size).max(1));
    assert_eq!(whole.attachments, cut.attachments);
    assert_eq!(whole, cut);
    for error in &whole.errors {
        assert!(!error.message.contains([';', '\r', '\n']));
    }
}
