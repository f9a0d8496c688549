//! The store fails, really: a disk that is full, read-only, slow or broken, a file that is locked,
//! damaged or deleted, and no file handles left. Traffic and notifications are counted on both sides
//! (section 5 of the design, "The promise"); docs/reliability.md has the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "faults/stage.rs"]
mod stage;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Content, Message, Part, Post,
    faults::{self, BadDisk, SmallDisk},
    gateway::wait_until,
};
use stage::{Mode, SOON, Stage};

/// The size of a large payload, in bytes: one that is kept in a file.
const LARGE: u64 = 1 << 20;

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
    stage.fall_into_trouble("did not answer");
    stage.send_in_trouble(20);
    if mode == Mode::Pass {
        // What is written meanwhile, late as it is, does not make it well.
        let is_well = || stage.gateway.readiness().is_some_and(|(status, _)| status == 200);
        assert!(!wait_until(Duration::from_secs(7), is_well), "it takes 5 s for a commit");
        stage.send_in_trouble(5);
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
    stage.fall_into_trouble("did not answer");
    stage.send_in_trouble(20);
    if mode == Mode::Pass {
        // Longer than it waits for a lock, too.
        stage.wait_for_trouble("locked");
        stage.send_in_trouble(5);
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

// === a disk that fills while a payload is written ===

fn large() -> Message {
    Message::new("ACME", "MY-OWN-ORG").attach(Part::new(
        "order.edi",
        "application/edifact",
        Content::large(LARGE),
    ))
}

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
    for told in stage.sink.requests() {
        let error = told.header("X-Processing-Error");
        let whole = told.body.length == LARGE && error.is_none();
        // Told without its payload, and saying so; never with half of it.
        let bare = told.body.length == 0 && error.is_some_and(|error| error.starts_with("1300: "));
        assert!(whole || bare && mode == Mode::Pass, "{} {error:?}", told.body.length);
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
    /// Where nobody may mount anything a library plays the kernel's part.
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

// === the file is damaged ===

fn damaged(mode: Mode) {
    let mut stage = Stage::new(mode, "json");
    stage.start();
    stage.account("(before)", 0);
    let backup = stage.gateway.folder().join("backup.db");
    faults::backup(&stage.database(), &backup);
    faults::damage(&stage.database()).unwrap();
    // Nobody knows before somebody reads it.
    stage.send_into_trouble(4);
    stage.wait_for_trouble("damaged");
    stage.send_in_trouble(20);
    fs::rename(&backup, stage.database()).unwrap();
    stage.recover();
    let account = stage.account("damaged, backup restored", 4);
    assert!(account.lost <= 4, "{account:?}");
}

#[test]
fn damaged_pass() {
    damaged(Mode::Pass);
}

#[test]
fn damaged_refuse() {
    damaged(Mode::Refuse);
}

#[test]
fn damaged_before_the_start() {
    for mode in [Mode::Pass, Mode::Refuse] {
        let mut stage = Stage::new(mode, "json");
        stage.start();
        stage.account("(before)", 0);
        // Not before there is something in the file itself: what is damaged of the log counts as never
        // written.
        let written = || fs::metadata(stage.database()).unwrap().len() > 64 << 10;
        assert!(wait_until(SOON, written));
        let backup = stage.gateway.folder().join("backup.db");
        faults::backup(&stage.database(), &backup);
        stage.gateway.kill9();
        faults::damage(&stage.database()).unwrap();
        stage.gateway.begin().unwrap();
        match mode {
            Mode::Pass => {
                stage.wait_for_listener();
                stage.wait_for_trouble("damaged");
                stage.send_in_trouble(10);
                restore(&stage, &backup);
                stage.wait_for_peace();
            }
            Mode::Refuse => {
                let ended = stage.gateway.wait_for_end(SOON).expect("it does not start");
                assert_eq!(ended.code(), Some(1));
                assert!(stage.said("the store's file is damaged") > 0);
                restore(&stage, &backup);
                stage.gateway.start().unwrap();
            }
        }
        stage.send_in_peace(5);
        stage.account("damaged at start, backup restored", 0);
    }
}

/// As docs/operating.md says.
fn restore(stage: &Stage, backup: &Path) {
    for log in ["as2hook.db-wal", "as2hook.db-shm"] {
        let _ = fs::remove_file(stage.gateway.folder().join("data").join(log));
    }
    fs::rename(backup, stage.database()).unwrap();
}

// === files are deleted ===

fn deleted(mode: Mode, fault: &str, delete: impl FnOnce(&Path)) {
    let mut stage = Stage::new(mode, "raw");
    stage.start();
    delete(&stage.gateway.folder().join("data"));
    stage.send_in_peace(5);
    for sent in stage.send_like(&large(), 2) {
        assert_eq!(sent.status, Some(200), "{sent:?}");
    }
    stage.gateway.kill9();
    stage.start();
    stage.account(fault, 0);
    let told = stage.sink.requests();
    let whole = told.iter().filter(|told| told.body.length == LARGE);
    let whole: BTreeSet<_> = whole.map(|told| told.header("Message-ID").unwrap()).collect();
    assert_eq!(whole.len(), 2);
}

#[test]
fn deleted_file() {
    for mode in [Mode::Pass, Mode::Refuse] {
        deleted(mode, "the store's file deleted", |data| {
            for name in ["as2hook.db", "as2hook.db-wal", "as2hook.db-shm"] {
                fs::remove_file(data.join(name)).unwrap();
            }
        });
    }
}

#[test]
fn deleted_folder() {
    for mode in [Mode::Pass, Mode::Refuse] {
        deleted(mode, "the folder `data` deleted", |data| {
            // All at once: it is written into meanwhile.
            let aside = data.with_extension("aside");
            fs::rename(data, &aside).unwrap();
            fs::remove_dir_all(aside).unwrap();
        });
    }
}

#[test]
fn deleted_payload_folder() {
    for mode in [Mode::Pass, Mode::Refuse] {
        deleted(mode, "the payload folder deleted", |data| {
            fs::remove_dir_all(data.join("payloads")).unwrap();
        });
    }
}

// === no file handles left ===

fn out_of_handles(mode: Mode) {
    let mut stage = Stage::new(mode, "raw");
    stage.gateway.set_wrapper(&["sh", "-c", "ulimit -n 96 && exec \"$@\"", "sh"]);
    stage.start();
    let inbound = stage.gateway.inbound();
    let mut kept = inbound.connect().unwrap();
    assert_eq!(kept.send(&Post::message("/as2", &large().build())).unwrap().status, 200);
    let hogs: Vec<_> = (0..128).map(|_| inbound.connect().unwrap()).collect();
    stage.gateway.wait_for_log("Accept() failed", SOON);
    let before = stage.gateway.cpu_time().unwrap();
    let began = Instant::now();
    // Whatever it is, it is an answer. Not the same message: with the store out of reach a repeated one
    // is not known as such.
    let other = large().id("<other@acme.example>").build();
    let status = kept.send(&Post::message("/as2", &other)).unwrap().status;
    assert!([200, 502, 503].contains(&status), "{status}");
    thread::sleep(Duration::from_secs(3).saturating_sub(began.elapsed()));
    let spent = stage.gateway.cpu_time().unwrap() - before;
    assert!(spent < Duration::from_millis(1500), "it spins: {spent:?} in 3 s");
    drop(hogs);
    stage.wait_for_peace();
    stage.send_in_peace(10);
    stage.account("no file handles left", 0);
}

#[test]
fn out_of_handles_pass() {
    out_of_handles(Mode::Pass);
}

#[test]
fn out_of_handles_refuse() {
    out_of_handles(Mode::Refuse);
}
