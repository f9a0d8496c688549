//! An AS2 sender for tests: everything that a partner may put on the wire, made with OpenSSL's primitives
//! and a DER and BER writer of its own. OpenSSL's CMS functions hold a message several times over and choose
//! the encoding themselves; the tests here have them read back what is written.
//!
//! # Layout
//! - [`der`]: DER, and BER with indefinite lengths and segments
//! - [`identity`]: keys with certificates
//! - [`cms`]: envelopes, signatures and compression, in every form that partners use
//! - [`mime`]: entities and multiparts
//! - [`message`]: whole messages of any size, written as a stream
//! - [`hostile`]: messages that are made to cost a decoder much
//! - [`coding`]: content codings of HTTP
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a harness: its names are those of the standards, and what fails here fails the test"
)]

pub mod cms;
pub mod coding;
pub mod der;
pub mod hostile;
pub mod identity;
pub mod message;
pub mod mime;

pub use cms::{Cipher, Envelope, KeyWay, Recipient, Scheme, SignOptions, Signing};
pub use identity::Identity;
