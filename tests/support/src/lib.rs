//! Everything that stands around the gateway in a test: partners, receivers, webhook endpoints, keys,
//! and the gateway's own process. Blocking, on loopback, and exact to the byte: what HTTP libraries
//! tidy away (case, framing, interim responses) is what the tests are about.
//!
//! ```no_run
//! use std::time::Duration;
//! use as2hook_testing::{Gateway, Message, Part, Post, pki, receiver, sink};
//!
//! let receiver = receiver().start();
//! let sink = sink().start();
//! let gateway = Gateway::new()
//!     .receiver(&receiver)
//!     .station("MY-OWN-ORG", pki::station())
//!     .partner("ACME", pki::partner())
//!     .rule("orders", |rule| rule.url(sink.url("/orders")).payload("json"))
//!     .start()
//!     .expect("the gateway starts");
//! let message = Message::new("ACME", "MY-OWN-ORG")
//!     .attach(Part::text("order.xml", "text/xml", "<order/>"))
//!     .sign(pki::partner())
//!     .encrypt(pki::station())
//!     .build();
//! let reply = gateway.inbound().send(&Post::message("/as2", &message)).expect("a response");
//! assert_eq!(reply.status, 200);
//! let notified = sink.wait_for(1, Duration::from_secs(5)).expect("a webhook");
//! assert_eq!(notified[0].header("X-AS2-Event"), Some("message.received"));
//! ```
//!
//! # Layout
//! - [`http`]: heads, bodies and framing as they stand on the wire
//! - [`stream`]: one connection, plain or TLS
//! - [`endpoint`]: a scriptable server: [`receiver()`] stands in for the AS2 server, [`sink()`] for a webhook's owner
//! - [`response`]: an endpoint's scripted responses, good and bad
//! - [`client`]: a raw HTTP client, polite or not
//! - [`message`], [`hostile`], [`coding`]: AS2 messages, of [`as2hook_messages`]
//! - [`mdn`]: the receipts for them
//! - [`pki`]: keys and certificates, made anew for each run
//! - [`gateway`]: the built binary, its folder, its life and its death
//! - [`clock`]: a machine's clock that is set while the gateway runs
//! - [`dns`]: a name server, and the resolver configuration of a gateway
//! - [`faults`]: disks, stores and limits that fail
//! - [`load`]: senders on a schedule or at full speed, and a server that costs next to nothing
//! - [`postgres`]: a database server of the machine's packages
//! - [`s3`]: a server that speaks S3, where one is installed
//! - [`process`]: what a process uses
//! - [`corpus`]: the captured messages, where they are at hand
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a harness: what fails here fails the test, at the place where it went wrong"
)]

pub mod client;
pub mod clock;
pub mod corpus;
pub mod dns;
pub mod endpoint;
pub mod faults;
pub mod gateway;
pub mod http;
pub mod load;
pub mod mdn;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod response;
pub mod s3;
pub mod stream;

pub use as2hook_as2::Digest;
pub use as2hook_messages::{
    Cipher, coding, hostile,
    message::{self, Built, Content, Message, Part, Receipt},
};
pub use client::{Client, Connection, Post, Reply};
pub use clock::Clock;
pub use endpoint::{Endpoint, Idle, receiver, sink};
pub use gateway::{Gateway, Ran, Rule, Running, as2hook, as2hook_with, wait_until};
pub use http::{Body, Framing, Head, Request};
pub use mdn::Mdn;
pub use postgres::Postgres;
pub use response::Response;
pub use s3::S3;
