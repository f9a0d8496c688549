//! The store's files are damaged or deleted.

use std::{collections::BTreeSet, fs, path::Path};

use as2hook_testing::{faults, gateway::wait_until};

use super::{
    LARGE, large,
    stage::{Mode, SOON, Stage},
};

// === the file is damaged ===

fn damaged(mode: Mode) {
    let mut stage = Stage::new(mode, "json");
    stage.start();
    stage.account("(before)", 0);
    let backup = stage.gateway.folder().join("backup.db");
    faults::backup(&stage.database(), &backup);
    faults::damage(&stage.database()).unwrap();
    // It is not known before it is read.
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
    let delivered = stage.sink.requests();
    let whole = delivered.iter().filter(|delivered| delivered.body.length == LARGE);
    let whole: BTreeSet<_> =
        whole.map(|delivered| delivered.header("Message-ID").unwrap()).collect();
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
