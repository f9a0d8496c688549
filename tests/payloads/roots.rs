//! Payload roots: moved, shared by mistake, or looked at by the wrong store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use as2hook_testing::{
    Content, Endpoint, Gateway, Message, Part, Post, Response, Running, receiver, sink,
};

use super::{SOON, gateway};

/// More than fits into the event's row.
const LARGE: u64 = 300 << 10;

fn raw(receiver: &Endpoint, sink: &Endpoint) -> Gateway {
    let retry = format!("[{}]", vec!["1s"; 100].join(", "));
    gateway(receiver).rule("raw", |rule| rule.to(sink, "/raw").payload("raw").set("retry", &retry))
}

/// A gateway that was killed with one large payload undelivered.
fn with_backlog(receiver: &Endpoint, sink: &Endpoint) -> (Running, Content) {
    sink.respond(Response::status(500));
    let mut running = raw(receiver, sink).start().unwrap();
    let content = Content::large(LARGE);
    let part = Part::new("order.edi", "application/edifact", content.clone());
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    assert_eq!(running.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
    sink.wait_for(1, SOON).unwrap();
    running.kill9();
    sink.forget();
    sink.respond(Response::ok());
    (running, content)
}

/// Starts it again, and waits until the payload has come whole.
fn delivers(running: &mut Running, sink: &Endpoint, content: &Content) {
    running.start().unwrap();
    let sha256 = content.sha256();
    sink.wait_until(1, SOON, |delivered| delivered.complete && delivered.body.sha256 == sha256)
        .unwrap();
}

/// The names of the payload files below.
fn payloads(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}

fn turn(running: &Running, from: &str, to: &str) {
    let text = fs::read_to_string(running.config_file()).unwrap();
    assert!(text.contains(from), "{text}");
    running.write("as2hook.yaml", &text.replace(from, to)).unwrap();
}

fn is_refused(running: &mut Running) {
    running.begin().unwrap();
    let ended = running.wait_for_end(SOON).expect("it ends by itself");
    assert_eq!(ended.code(), Some(1));
    let log = running.log();
    assert!(log.contains("belongs to another store") && log.contains("`payloads:`"), "{log}");
}

#[test]
fn renamed_data_folder_keeps_payloads() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let (mut running, content) = with_backlog(&receiver, &sink);
    fs::rename(running.folder().join("data"), running.folder().join("moved")).unwrap();
    turn(&running, "data/", "moved/");
    delivers(&mut running, &sink, &content);
}

#[test]
fn symlink_to_a_larger_disk_keeps_payloads() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let (mut running, content) = with_backlog(&receiver, &sink);
    let root = running.folder().join("data/payloads");
    let disk = running.folder().join("larger-disk");
    fs::rename(&root, &disk).unwrap();
    std::os::unix::fs::symlink(&disk, &root).unwrap();
    delivers(&mut running, &sink, &content);
    // And back again.
    running.kill9();
    fs::remove_file(&root).unwrap();
    fs::rename(&disk, &root).unwrap();
    running.start().unwrap();
}

#[test]
fn start_with_a_wrong_store_is_refused_and_removes_no_payload() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let (mut running, content) = with_backlog(&receiver, &sink);
    let root = running.folder().join("data/payloads");
    let before = payloads(&root);
    assert_eq!(before.len(), 1);
    turn(&running, "sqlite:data/as2hook.db", "sqlite:data/as2hok.db");
    is_refused(&mut running);
    assert_eq!(payloads(&root), before);
    turn(&running, "sqlite:data/as2hok.db", "sqlite:data/as2hook.db");
    delivers(&mut running, &sink, &content);
}

#[test]
fn second_config_with_the_same_payload_folder_is_refused() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let (mut running, content) = with_backlog(&receiver, &sink);
    let root = running.folder().join("data/payloads");
    let second = raw(&receiver, &sink).set("payloads", &format!("{root:?}"));
    let mut second = second.prepare().unwrap();
    is_refused(&mut second);
    // With a folder of its own it starts.
    turn(&second, &format!("{root:?}"), "data/payloads");
    second.start().unwrap();
    assert_eq!(payloads(&root).len(), 1);
    delivers(&mut running, &sink, &content);
}
