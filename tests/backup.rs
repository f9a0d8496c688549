//! `as2hook backup` while the gateway runs, and `as2hook restore` elsewhere.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use as2hook_testing::{
    Client, Endpoint, Gateway, Message, Part, Post, Ran, Running, as2hook, gateway::wait_until,
    receiver, sink,
};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn delivery_pending_at_the_backup_is_made_after_the_restore() {
    let (receiver, hook) = (receiver().start(), sink().start());
    hook.stop();
    let mut gateway = gateway(&receiver, &hook).start().unwrap();
    let sent = Arc::new(Mutex::new(BTreeSet::new()));
    for number in 0..20 {
        send(&gateway.inbound(), &sent, &format!("before-{number}"), 100);
    }
    // Too large for the event's row.
    send(&gateway.inbound(), &sent, "large", 400_000);
    let before = sent.lock().unwrap().clone();
    let running = Arc::new(AtomicBool::new(true));
    let load = {
        let (inbound, sent, running) = (gateway.inbound(), sent, running.clone());
        thread::spawn(move || {
            let mut number = 0;
            while running.load(Ordering::SeqCst) {
                send(&inbound, &sent, &format!("meanwhile-{number}"), 100);
                number += 1;
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let ran = run("backup", &copy, &gateway.config_file());
    running.store(false, Ordering::SeqCst);
    load.join().unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("one payload file"), "{ran:?}");
    let again = run("backup", &copy, &gateway.config_file());
    assert_eq!(again.status, Some(1));
    assert!(again.stderr.contains("exists already"), "{again:?}");
    gateway.kill9();
    // All of it is gone.
    std::fs::remove_dir_all(gateway.folder().join("data")).unwrap();

    let mut other = self::gateway(&receiver, &hook).prepare().unwrap();
    let ran = run("restore", &copy, &other.config_file());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    hook.resume();
    other.start().unwrap();
    let delivered = || -> BTreeSet<String> {
        let requests = hook.requests();
        let whole = requests.iter().filter(|request| request.complete);
        whole.map(|request| request.header("Message-ID").unwrap().to_owned()).collect()
    };
    assert!(
        wait_until(SOON, || before.is_subset(&delivered())),
        "{:?}",
        before.difference(&delivered())
    );
    let requests = hook.requests();
    let large =
        requests.iter().find(|request| request.header("Message-ID") == Some("<large@acme>"));
    assert!(large.unwrap().body.length >= 400_000);
    let again = run("restore", &copy, &other.config_file());
    assert_eq!(again.status, Some(1));
    assert!(again.stderr.contains("exists already"), "{again:?}");
}

#[test]
fn without_a_store_of_its_own_it_says_what_to_do() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let none = gateway(&receiver, &hook).prepare().unwrap();
    let ran = run("backup", &copy, &none.config_file());
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("as2hook.db is not there"), "{ran:?}");
    let shared =
        gateway(&receiver, &hook).set("store", "\"postgres://as2hook@db.example/as2hook\"");
    let shared = shared.prepare().unwrap();
    let ran = run("backup", &copy, &shared.config_file());
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("pg_dump"), "{ran:?}");
    let ran = run("restore", &copy, &shared.config_file());
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("pg_restore"), "{ran:?}");
    assert!(!copy.exists());
}

#[test]
fn what_is_wrong_is_said_of_the_file_that_was_named() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(&receiver, &hook).prepare().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    for none in [&token, folder.path()] as [&Path; 2] {
        let ran = run("restore", none, &gateway.config_file());
        assert_eq!(ran.status, Some(1));
        let said = format!("{} is not a backup that `as2hook backup` made\n", none.display());
        assert!(ran.stderr.ends_with(&said), "{ran:?}");
    }
    std::fs::create_dir_all(gateway.folder().join("data")).unwrap();
    std::fs::write(gateway.folder().join("data/as2hook.db"), "").unwrap();
    let nowhere = folder.path().join("nodir");
    let ran = run("backup", &nowhere.join("b.db"), &gateway.config_file());
    assert_eq!(ran.status, Some(1));
    let said = format!("the folder {} is not there", nowhere.display());
    assert!(ran.stderr.contains(&said), "{ran:?}");
}

/// The steps of docs/operating.md, and back to the old store after all.
#[test]
fn restore_beside_the_old_payloads_removes_none_of_them() {
    let (receiver, hook) = (receiver().start(), sink().start());
    hook.stop();
    let mut gateway = gateway(&receiver, &hook).start().unwrap();
    let (folder, data) = (tempfile::tempdir().unwrap(), gateway.folder().join("data"));
    let sent = Mutex::default();
    let whole = |name: &str| {
        let is_it = |delivered: &as2hook_testing::Request| {
            delivered.complete
                && delivered.header("Message-ID") == Some(name)
                && delivered.body.length >= 400_000
        };
        hook.requests().iter().any(|delivered| is_it(delivered))
    };
    send(&gateway.inbound(), &sent, "before", 400_000);
    let copy = folder.path().join("copy.db");
    assert_eq!(run("backup", &copy, &gateway.config_file()).status, Some(0));
    send(&gateway.inbound(), &sent, "after", 400_000);
    gateway.kill9();
    let files = ["as2hook.db", "as2hook.db-wal", "as2hook.db-shm"];
    let move_to = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for name in files.iter().filter(|name| from.join(name).exists()) {
            fs::rename(from.join(name), to.join(name)).unwrap();
        }
    };
    let old = folder.path().join("old");
    move_to(&data, &old);
    let ran = run("restore", &copy, &gateway.config_file());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    hook.resume();
    gateway.start().unwrap();
    assert!(wait_until(SOON, || whole("<before@acme>")));
    assert!(!whole("<after@acme>"));
    gateway.kill9();

    hook.forget();
    move_to(&data, &folder.path().join("restored"));
    move_to(&old, &data);
    gateway.start().unwrap();
    assert!(wait_until(SOON, || whole("<before@acme>") && whole("<after@acme>")));
}

/// An unprivileged user and its group.
const UNPRIVILEGED: u32 = 65_534;

/// Gives a folder with all that is in it to the unprivileged user.
fn give_to_unprivileged_user(folder: &Path) {
    let owner = format!("{UNPRIVILEGED}:{UNPRIVILEGED}");
    let given = std::process::Command::new("chown").arg("-R").arg(owner).arg(folder).status();
    assert!(given.unwrap().success());
}

/// What is below a folder and does not belong to the unprivileged user.
fn of_others(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut others = Vec::new();
    for path in entries {
        if path.is_dir() {
            others.extend(of_others(&path));
        }
        if fs::metadata(&path).unwrap().uid() != UNPRIVILEGED {
            others.push(path);
        }
    }
    others
}

/// A gateway in a folder of the unprivileged user, with a binary that it can run. `None`: these tests do not run
/// as root.
fn unprivileged_gateway(
    receiver: &Endpoint,
    hook: &Endpoint,
) -> Option<(tempfile::TempDir, Running)> {
    let folder = tempfile::tempdir().unwrap();
    if fs::metadata(folder.path()).unwrap().uid() != 0 {
        return None;
    }
    let binary = folder.path().join("as2hook");
    fs::copy(env!("CARGO_BIN_EXE_as2hook"), &binary).unwrap();
    let gateway = gateway(receiver, hook).binary(binary).folder(folder.path().join("site"));
    let running = gateway.prepare().unwrap();
    give_to_unprivileged_user(folder.path());
    Some((folder, running))
}

/// From the next start on.
fn run_unprivileged(gateway: &mut Running) {
    let group = format!("--regid={UNPRIVILEGED}");
    gateway.set_wrapper(&["setpriv", &format!("--reuid={UNPRIVILEGED}"), &group, "--clear-groups"]);
}

#[test]
fn start_and_restore_as_root_leave_files_of_the_folders_owner() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let Some((folder, mut gateway)) = unprivileged_gateway(&receiver, &hook) else { return };
    hook.stop();
    let data = gateway.folder().join("data");
    fs::remove_dir_all(&data).unwrap();
    gateway.start().unwrap();
    let sent = Mutex::default();
    send(&gateway.inbound(), &sent, "large", 400_000);
    // What belongs to root while it runs stays so if it is killed.
    assert!(of_others(&data).is_empty(), "{:?}", of_others(&data));
    let copy = folder.path().join("copy.db");
    assert_eq!(run("backup", &copy, &gateway.config_file()).status, Some(0));
    gateway.kill9();
    // A backup that root has copied from elsewhere belongs to root.
    let root = std::process::Command::new("chown").args(["-R", "0:0"]).arg(&copy).status();
    assert!(root.unwrap().success());
    fs::rename(&data, folder.path().join("old")).unwrap();
    let ran = run("restore", &copy, &gateway.config_file());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(of_others(&data).is_empty(), "{:?}", of_others(&data));

    run_unprivileged(&mut gateway);
    hook.resume();
    gateway.start().unwrap();
    let whole = || {
        hook.requests()
            .iter()
            .any(|delivered| delivered.complete && delivered.body.length >= 400_000)
    };
    assert!(wait_until(SOON, whole), "{}", gateway.log());
}

#[test]
fn store_of_another_user_is_refused_with_its_owner() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let Some((_folder, mut gateway)) = unprivileged_gateway(&receiver, &hook) else { return };
    let data = gateway.folder().join("data");
    fs::create_dir_all(&data).unwrap();
    let database = data.join("as2hook.db");
    fs::write(&database, "").unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    run_unprivileged(&mut gateway);
    gateway.begin().unwrap();
    assert!(gateway.wait_for_log("belongs to user 0", SOON), "{}", gateway.log());
    assert!(gateway.log().contains("chown --reference=FOLDER FILE"), "{}", gateway.log());
}

fn gateway(receiver: &Endpoint, hook: &Endpoint) -> Gateway {
    let often = vec!["1s"; 100].join(", ");
    Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook")).receiver(receiver).rule("all", |rule| {
        rule.to(hook, "/hook").payload("raw").set("retry", &format!("[{often}]"))
    })
}

fn run(command: &str, copy: &Path, config: &Path) -> Ran {
    let (copy, config) = (copy.to_str().unwrap(), config.to_str().unwrap());
    as2hook(&[command, copy, "-c", config])
}

fn send(inbound: &Client, sent: &Mutex<BTreeSet<String>>, name: &str, size: usize) {
    let id = format!("<{name}@acme>");
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", &"E".repeat(size)))
        .build();
    let fields: Vec<_> =
        message.headers.iter().filter(|(name, _)| name != "Message-ID").cloned().collect();
    let post = Post::new("/as2", &message.body).headers(&fields).header("Message-ID", id.clone());
    if inbound.send(&post).unwrap().status == 200 {
        sent.lock().unwrap().insert(id);
    }
}
