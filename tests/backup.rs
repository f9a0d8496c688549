//! `as2hook backup` while the gateway runs, and `as2hook restore` elsewhere.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use as2hook_testing::{
    Client, Endpoint, Gateway, Message, Part, Post, Ran, as2hook, gateway::wait_until, receiver,
    sink,
};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn what_was_undelivered_at_the_backup_is_delivered_from_it() {
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
    let told = || -> BTreeSet<String> {
        let requests = hook.requests();
        let whole = requests.iter().filter(|request| request.complete);
        whole.map(|request| request.header("Message-ID").unwrap().to_owned()).collect()
    };
    assert!(wait_until(SOON, || before.is_subset(&told())), "{:?}", before.difference(&told()));
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
