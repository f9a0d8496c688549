//! The gateway between real AS2 servers, in both directions: django-pyas2, libas2 and mock-edi. Run by
//! `tests/interop/run`, which installs them; `tests/interop/README.md` says what they are.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]
#![allow(clippy::print_stdout, reason = "the suite says what was exchanged")]

#[path = "interop/libas2.rs"]
mod libas2;
#[path = "interop/mock_edi.rs"]
mod mock_edi;
#[path = "interop/peer.rs"]
mod peer;
#[path = "interop/pyas2.rs"]
mod pyas2;
#[path = "interop/scene.rs"]
mod scene;
