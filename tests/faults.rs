//! The store fails, really: a disk that is full, read-only, slow or broken, a file that is locked,
//! damaged or deleted, and no file handles left. Traffic and notifications are counted on both sides
//! (section 5 of the design, "The promise"); docs/reliability.md has the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "faults/files.rs"]
mod files;
#[path = "faults/full.rs"]
mod full;
#[path = "faults/handles.rs"]
mod handles;
#[path = "faults/hung.rs"]
mod hung;
#[path = "faults/stage.rs"]
mod stage;

use std::time::Duration;

use as2hook_testing::{
    Content, Message, Part,
    faults::{self, BadDisk},
    gateway::wait_until,
};
use stage::{Mode, Stage};

/// The size of a large payload, in bytes: one that is kept in a file.
const LARGE: u64 = 1 << 20;

fn large() -> Message {
    Message::new("ACME", "MY-OWN-ORG").attach(Part::new(
        "order.edi",
        "application/edifact",
        Content::large(LARGE),
    ))
}

/// A fault of the disk that comes and goes.
fn disk(fault: &str, mode: Mode, words: &str, begin: impl FnOnce(&BadDisk)) {
    let mut stage = Stage::new(mode, "json");
    let disk = BadDisk::under(&mut stage.gateway).unwrap();
    stage.start();
    begin(&disk);
    stage.fall_into_trouble(words);
    stage.send_in_trouble(20);
    disk.mend();
    stage.recover();
    stage.account(fault, 0);
    stage.assert_said_once();
}

#[test]
fn full_pass() {
    disk("disk full", Mode::Pass, "disk is full", |disk| disk.fill(0));
}

#[test]
fn full_refuse() {
    disk("disk full", Mode::Refuse, "disk is full", |disk| disk.fill(0));
}

#[test]
fn read_only_pass() {
    disk("read-only", Mode::Pass, "may not be written", BadDisk::make_read_only);
}

#[test]
fn read_only_refuse() {
    disk("read-only", Mode::Refuse, "may not be written", BadDisk::make_read_only);
}

#[test]
fn broken_fsync_pass() {
    disk("fsync fails", Mode::Pass, "cannot be read or written", BadDisk::break_fsync);
}

#[test]
fn broken_fsync_refuse() {
    disk("fsync fails", Mode::Refuse, "cannot be read or written", BadDisk::break_fsync);
}

fn slow(mode: Mode) {
    let mut stage = Stage::new(mode, "json");
    let disk = BadDisk::under(&mut stage.gateway).unwrap();
    stage.start();
    disk.slow_down(5000);
    stage.fall_into_trouble("did not respond");
    stage.send_in_trouble(20);
    if mode == Mode::Pass {
        // What is written meanwhile, late as it is, does not make it well.
        let is_well = || stage.gateway.readiness().is_some_and(|(status, _)| status == 200);
        assert!(!wait_until(Duration::from_secs(7), is_well), "it takes 5 s for a commit");
        stage.send_in_trouble(20);
    }
    disk.mend();
    stage.recover();
    stage.account("fsync takes 5 s", 0);
    stage.assert_said_once();
}

#[test]
fn slow_fsync_pass() {
    slow(Mode::Pass);
}

#[test]
fn slow_fsync_refuse() {
    slow(Mode::Refuse);
}

fn locked(mode: Mode) {
    let mut stage = Stage::new(mode, "json");
    stage.start();
    let lock = faults::lock(&stage.database());
    stage.fall_into_trouble("did not respond");
    stage.send_in_trouble(20);
    if mode == Mode::Pass {
        // Longer than it waits for a lock, too.
        stage.wait_for_trouble("locked");
        stage.send_in_trouble(20);
    }
    lock.release();
    stage.recover();
    stage.account("locked", 0);
    stage.assert_said_once();
}

#[test]
fn locked_pass() {
    locked(Mode::Pass);
}

#[test]
fn locked_refuse() {
    locked(Mode::Refuse);
}
