//! A disk that is full: within a payload, and with `kill -9` on top.

use std::{fs, path::Path};

use as2hook_testing::{
    faults::{BadDisk, SmallDisk},
    gateway::wait_until,
};

use super::{
    LARGE, large,
    stage::{Mode, SOON, Stage},
};

fn full_in_a_payload(mode: Mode) {
    let mut stage = Stage::new(mode, "raw");
    let disk = BadDisk::under(&mut stage.gateway).unwrap();
    stage.gateway.start().unwrap();
    stage.send_like(&large(), 2);
    // Room for a part of one payload.
    disk.fill(400_000);
    let sent = stage.send_like(&large(), 6);
    let expected = if mode == Mode::Pass { 200 } else { 503 };
    assert!(sent.iter().all(|sent| sent.status == Some(expected)), "{sent:?}");
    stage.wait_for_trouble("Large payloads cannot be kept");
    disk.mend();
    stage.wait_for_peace();
    stage.send_like(&large(), 2);
    stage.account("disk full within a payload", 0);
    for delivered in stage.sink.requests() {
        let error = delivered.header("X-Processing-Error");
        let whole = delivered.body.length == LARGE && error.is_none();
        // Delivered without its payload, and saying so; never with half of it.
        let bare =
            delivered.body.length == 0 && error.is_some_and(|error| error.starts_with("1300: "));
        assert!(whole || bare && mode == Mode::Pass, "{} {error:?}", delivered.body.length);
    }
    assert_eq!(stage.said("Large payloads cannot be kept"), 1);
    assert_eq!(stage.said("Large payloads can be kept again"), 1);
    let payloads = stage.gateway.folder().join("data/payloads");
    let halves = wait_until(SOON, || leftovers(&payloads) <= stage.sink.requests().len());
    assert!(halves, "what could not be finished is removed");
}

/// Files below a payload folder, locks apart.
fn leftovers(payloads: &Path) -> usize {
    let folders =
        fs::read_dir(payloads).unwrap().filter_map(|entry| fs::read_dir(entry.ok()?.path()).ok());
    folders.map(Iterator::count).sum()
}

#[test]
fn full_in_a_payload_pass() {
    full_in_a_payload(Mode::Pass);
}

#[test]
fn full_in_a_payload_refuse() {
    full_in_a_payload(Mode::Refuse);
}

// === a real disk, full, and kill -9 on top of it ===

/// A gateway that knows its disk to be full.
fn filled(mode: Mode) -> (Stage, Small) {
    let mut stage = Stage::new(mode, "json");
    let disk = Small::under(&mut stage);
    stage.start();
    disk.fill();
    stage.fall_into_trouble("disk is full");
    (stage, disk)
}

#[test]
fn full_and_killed_pass() {
    let (mut stage, disk) = filled(Mode::Pass);
    let held = stage.held();
    assert!(held > 0);
    stage.gateway.kill9();
    // With the disk as full as before: traffic first.
    stage.gateway.begin().unwrap();
    stage.wait_for_listener();
    stage.wait_for_trouble("disk is full");
    stage.send_in_trouble(10);
    disk.free();
    stage.recover();
    // What was in memory went with the process.
    let account = stage.account("disk full, `kill -9`", held);
    assert!(account.lost <= held, "{account:?}");
}

#[test]
fn full_and_killed_refuse() {
    let (mut stage, disk) = filled(Mode::Refuse);
    stage.gateway.kill9();
    stage.gateway.begin().unwrap();
    let ended = stage.gateway.wait_for_end(SOON).expect("it does not start without its store");
    assert_eq!(ended.code(), Some(1));
    assert!(stage.said("disk is full") > 0);
    disk.free();
    stage.start();
    stage.account("disk full, `kill -9`", 0);
}

/// A disk that can be filled.
enum Small {
    /// A real one of 4 MB.
    Mounted(SmallDisk),
    /// Where mounting is not permitted, a library plays the kernel's part.
    Played(BadDisk),
}

impl Small {
    #[expect(clippy::print_stderr, reason = "which of the two is tested differs by machine")]
    fn under(stage: &mut Stage) -> Self {
        match SmallDisk::under(&mut stage.gateway, 4 << 20) {
            Ok(disk) => Self::Mounted(disk),
            Err(why) => {
                eprintln!("Nothing can be mounted here ({why}): the disk is played.");
                Self::Played(BadDisk::under(&mut stage.gateway).unwrap())
            }
        }
    }

    fn fill(&self) {
        match self {
            Self::Mounted(disk) => disk.fill().unwrap(),
            Self::Played(disk) => disk.fill(0),
        }
    }

    fn free(&self) {
        match self {
            Self::Mounted(disk) => disk.free().unwrap(),
            Self::Played(disk) => disk.mend(),
        }
    }
}
