//! Families of public bug reports: each test is named by one of them and has its relatives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside_notification;
mod content_codings;
mod documents;
mod mic;
mod mime;
mod recipients;
mod signatures;
mod subjects;
#[path = "../support/mod.rs"]
mod support;

use as2hook_as2::{Decoded, Keyring, Options};
use support::{Kept, Message, decode, decode_cut};

/// The codes of what is odd and no error.
fn warnings(decoded: &Decoded) -> Vec<&str> {
    decoded.warnings.iter().map(|warning| &*warning.code).collect()
}

/// Decodes whole and in small pieces, which must give the same.
#[track_caller]
fn decoded(message: &Message, keyring: &Keyring) -> (Decoded, Kept) {
    let (whole, kept) = decode(message, keyring);
    for sizes in [&[1][..], &[5, 90, 1]] {
        let (cut, again) = decode_cut(message, keyring, Options::default(), sizes);
        assert_eq!((&cut, &again.bytes), (&whole, &kept.bytes), "cut by {sizes:?}");
    }
    (whole, kept)
}
