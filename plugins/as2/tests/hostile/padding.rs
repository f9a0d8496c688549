//! What the time of a decryption shows: a wrong key, wrong padding and the right ones are the same
//! work, counted in bytes digested and handed on, and in checkpoints.

use super::{
    Meter, measured,
    support::{
        Cipher, Envelope, KeyWay, Message, SignOptions, Signing,
        cms::smime,
        codes,
        identity::{PARTNER, STATION},
        mime::document,
    },
};
use as2hook_as2::Digest;

const SIZE: usize = 5_000_000;

fn measure(cms: &[u8]) -> (Vec<u16>, Meter) {
    let (decoded, meter) = measured(&Message::of(&smime("enveloped-data", cms)));
    (codes(&decoded), meter)
}

/// With one byte of the last block but one changed: so the same byte of the last block is.
fn spoil(cms: &[u8], block: usize, byte: usize, by: u8) -> Vec<u8> {
    let mut cms = cms.to_vec();
    let at = cms.len() - 2 * block + byte;
    cms[at] ^= by;
    cms
}

#[test]
fn wrong_padding_is_the_same_work_as_right_padding() {
    for (cipher, block) in [(Cipher::Aes256Cbc, 16), (Cipher::TripleDes, 8)] {
        // Three bytes of padding.
        let content = vec![b'x'; SIZE + (29 - document(&[b'x'; SIZE]).len() % 16) % 16];
        let cms = Envelope::to(&STATION, cipher).seal(&document(&content));
        let (right, good) = measure(&spoil(&cms, block, 0, 1));
        assert_eq!((right, good.bytes), (vec![], content.len() as u64));
        for (byte, by) in [(block - 1, 0x80), (block - 1, 0x20), (block - 2, 1)] {
            let (wrong, bad) = measure(&spoil(&cms, block, byte, by));
            assert_eq!(wrong, [800]);
            // The whole last block is handed on, since none of it is known to be padding.
            assert!(bad.bytes - good.bytes <= block as u64, "{} and {}", bad.bytes, good.bytes);
            assert_eq!(bad.checkpoints, good.checkpoints);
        }
    }
}

#[test]
fn wrong_padding_of_every_length_is_refused_and_right_padding_of_every_length_is_accepted() {
    for length in 0..40 {
        let plain = document(&vec![b'x'; length]);
        let cms = Envelope::to(&STATION, Cipher::Aes128Cbc).seal(&plain);
        assert_eq!(measure(&cms).0, [0u16; 0]);
        let count = 16 - plain.len() % 16;
        for at in 1..=16 {
            // A changed byte of the padding; in front of it a changed byte of the content.
            let (wrong, _) = measure(&spoil(&cms, 16, 16 - at, 0x80));
            assert_eq!(!wrong.is_empty(), at <= count, "{at} of {count}");
        }
        // Not a whole block.
        let cut = Envelope::to(&STATION, Cipher::Aes128Cbc).seal(&plain);
        assert_eq!(measure(&cut[..cut.len() - 1]).0, [1100]);
    }
}

#[test]
fn wrong_key_is_the_same_work_as_the_right_key() {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let plain = document(&[b'x'; SIZE]);
    let signed = sign.entity(&plain, Signing::Detached { base64: true }, "sha-256");
    for (what, plain) in [("plain", &plain), ("signed", &signed)] {
        let mut envelope = Envelope::to(&STATION, Cipher::Aes256Cbc);
        let (right, good) = measure(&envelope.seal(plain));
        assert_eq!((right, good.bytes), (vec![], SIZE as u64), "{what}");
        envelope.recipients[0].way = KeyWay::Spoilt(1, 0);
        let (wrong, bad) = measure(&envelope.seal(plain));
        assert_eq!(wrong, [800], "{what}");
        // What stands around the document is part of the garbage.
        assert!(bad.bytes.abs_diff(good.bytes) < 4096, "{what}: {} and {}", bad.bytes, good.bytes);
        assert!(bad.checkpoints * 2 > good.checkpoints, "{what}");
    }
}
