//! How payloads lie on the disk, and what happens when they cannot.

use std::{
    fs,
    path::{Path, PathBuf},
};

use as2hook_testing::{
    Content, Endpoint, Gateway, Message, Part, Post, Reply, Request, Response, Running, receiver,
    sink, wait_until,
};

use super::{SOON, gateway};

/// More than fits into the event's row.
const LARGE: u64 = 300 << 10;

fn raw(receiver: &Endpoint, sink: &Endpoint) -> Gateway {
    // As often as can be, and for longer than any test takes.
    let retry = format!("[{}]", [vec!["200ms"; 20], vec!["2s"; 80]].concat().join(", "));
    gateway(receiver)
        .rule("raw", |rule| rule.to(sink, "/raw").payload("raw").set("retry", &retry))
        .environment("AS2HOOK_LOG", "info,as2hook_delivery=debug")
}

fn message(content: Content) -> Message {
    let part = Part::new("order.edi", "application/edifact", content);
    Message::new("ACME", "MY-OWN-ORG").attach(part)
}

fn marked(size: usize) -> Content {
    Content::Bytes(b"UNB+UNOC:3+SECRET' ".iter().copied().cycle().take(size).collect())
}

fn post(gateway: &Running, message: &Message) -> Reply {
    gateway.inbound().send(&Post::message("/as2", &message.build())).unwrap()
}

/// Every file below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn payload_files(gateway: &Running) -> Vec<PathBuf> {
    let mut files = files(&gateway.folder().join("data/payloads"));
    files.retain(|file| file.file_name().is_none_or(|name| name != "store.id"));
    files
}

/// The folder that the running process keeps payloads in.
fn own_folder(gateway: &Running) -> PathBuf {
    let entries = fs::read_dir(gateway.folder().join("data/payloads")).unwrap();
    let mut folders = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.next().unwrap()
}

/// Puts a file in the place of a folder, which cannot be made again then.
fn block(folder: &Path) {
    fs::remove_dir(folder).unwrap();
    fs::write(folder, "in the way").unwrap();
}

fn is_readable(gateway: &Running) -> bool {
    let files = files(&gateway.folder().join("data"));
    let needle = b"UNOC:3+SECRET";
    let holds = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    files.iter().any(holds)
}

#[test]
fn payloads_are_plain_on_the_disk_unless_the_config_says_otherwise() {
    let (receiver, sink) = (receiver().start(), sink().start());
    sink.next([Response::status(500)]);
    let gateway = raw(&receiver, &sink).start().unwrap();
    post(&gateway, &message(marked(5_000)));
    sink.wait_for(2, SOON).unwrap();
    // The files of a database that is at work may be seen in states that never were together.
    assert!(wait_until(SOON, || is_readable(&gateway)));
}

#[test]
fn sealed_payloads_lie_unreadable_on_the_disk_and_arrive_as_they_were() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = raw(&receiver, &sink).set("encrypt_payloads", "true").start().unwrap();
    for (n, size) in [5_000, 300_000].into_iter().enumerate() {
        let content = marked(size);
        post(&gateway, &message(content.clone()));
        let delivered = sink.wait_for(n + 1, SOON).unwrap();
        assert_eq!(delivered[n].body.sha256, content.sha256());
    }
    assert_eq!(payload_files(&gateway).len(), 1);
    assert!(!is_readable(&gateway));
}

#[test]
fn the_switch_can_be_turned_with_a_backlog_in_place() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut running = raw(&receiver, &sink).set("encrypt_payloads", "true").start().unwrap();
    sink.respond(Response::status(500));
    let contents = [marked(5_000), Content::large(LARGE), marked(6_000), Content::large(LARGE + 1)];
    for content in &contents[..2] {
        post(&running, &message(content.clone()));
    }
    turn(&running, "encrypt_payloads: true", "encrypt_payloads: false");
    for content in &contents[2..] {
        post(&running, &message(content.clone()));
    }
    // What has been tried is written down: a verdict is a moment after its response.
    for content in &contents {
        sink.wait_until(1, SOON, |one| is_whole(one, content)).unwrap();
    }
    running.kill9();
    sink.forget();
    sink.respond(Response::ok());
    running.restart().unwrap();
    for content in &contents {
        sink.wait_until(1, SOON, |one| is_whole(one, content)).unwrap();
    }
}

/// One that the end of a process has cut off is not.
fn is_whole(request: &Request, content: &Content) -> bool {
    request.complete && request.body.sha256 == content.sha256()
}

/// Posts a multipart of these parts, each with its header.
fn post_parts(gateway: &Running, parts: &[&[u8]]) {
    let parts = parts.iter().flat_map(|part| [b"--b\r\n", *part, b"\r\n"].concat());
    let body: Vec<u8> = parts.chain(*b"--b--\r\n").collect();
    let headers = [
        ("AS2-From", "ACME"),
        ("AS2-To", "MY-OWN-ORG"),
        ("Message-ID", "<1@acme>"),
        ("Content-Type", "multipart/mixed; boundary=b"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let post = Post::new("/as2", &body).headers(&headers);
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
}

#[test]
fn text_in_front_of_a_notification_leaves_no_payload() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let events = ["message.received", "mdn.received"];
    let gateway = gateway(&receiver)
        .rule("raw", |rule| rule.to(&sink, "/raw").payload("raw").events(&events))
        .start()
        .unwrap();
    let text = |length: u64| {
        let text = "It came. ".repeat(usize::try_from(length / 9 + 1).unwrap());
        format!("Content-Type: text/plain\r\n\r\n{text}").into_bytes()
    };
    let notification = b"Content-Type: message/disposition-notification\r\n\r\n\
        Original-Message-ID: <order@us>\r\n\
        Disposition: automatic-action/MDN-sent-automatically; processed\r\n";
    post_parts(&gateway, &[&text(1_000), notification]);
    let mdn = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(mdn.header("X-AS2-Event"), Some("mdn.received"));
    assert!(mdn.text().starts_with("--b\r\n"), "not the MDN as it came: {}", mdn.text());
    // Until the notification comes it is written to a file, and an MDN of this size is not kept.
    post_parts(&gateway, &[&text(LARGE), notification]);
    let mdn = &sink.wait_for(2, SOON).unwrap()[1];
    assert_eq!((mdn.header("X-AS2-Event"), mdn.body.length), (Some("mdn.received"), 0));
    assert!(wait_until(SOON, || payload_files(&gateway).is_empty()));
    // Without a notification it is a document.
    post_parts(&gateway, &[&text(LARGE)]);
    let message = &sink.wait_for(3, SOON).unwrap()[2];
    assert_eq!(message.header("X-AS2-Event"), Some("message.received"));
    assert_eq!(payload_files(&gateway).len(), 1);
}

/// Changes a line of the config, and has it read.
fn turn(gateway: &Running, from: &str, to: &str) {
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    assert!(text.contains(from), "{text}");
    gateway.write("as2hook.yaml", &text.replace(from, to)).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
}

#[test]
fn with_another_key_deliveries_wait_and_go_on_when_it_is_back() {
    let (receiver, sink) = (receiver().start(), sink().start());
    sink.respond(Response::status(500));
    let mut running = raw(&receiver, &sink).set("encrypt_payloads", "true").start().unwrap();
    let content = Content::large(LARGE);
    post(&running, &message(content.clone()));
    sink.wait_for(1, SOON).unwrap();
    running.kill9();
    let key = running.folder().join("data/secret.key");
    let right = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    sink.respond(Response::ok());
    running.restart().unwrap();
    assert!(running.wait_for_log("sealed with another key than the one in secret_key_file", SOON));
    sink.forget();
    running.kill9();
    fs::write(&key, right).unwrap();
    running.restart().unwrap();
    sink.wait_until(1, SOON, |one| is_whole(one, &content)).unwrap();
}

#[test]
fn pass_lets_traffic_through_and_reports_it_where_payloads_cannot_be_kept() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = raw(&receiver, &sink).start().unwrap();
    let folder = own_folder(&gateway);
    block(&folder);
    assert_eq!(post(&gateway, &message(Content::large(LARGE))).status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(delivered.body.length, 0);
    let error = delivered.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("1300: The payload could not be kept"), "{error}");
    let ready = gateway.admin().get("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("Large payloads cannot be kept since"), "{}", ready.text());
    assert!(gateway.wait_for_log("Large payloads cannot be kept.", SOON));
    // Small ones need no folder.
    post(&gateway, &message(Content::large(1_000)));
    assert_eq!(sink.wait_for(2, SOON).unwrap()[1].body.length, 1_000);

    fs::remove_file(&folder).unwrap();
    post(&gateway, &message(Content::large(LARGE)));
    assert_eq!(sink.wait_for(3, SOON).unwrap()[2].body.length, LARGE);
    assert!(wait_until(SOON, || gateway.admin().get("/readyz").unwrap().status == 200));
    assert!(gateway.wait_for_log("Large payloads can be kept again.", SOON));
}

#[test]
fn a_place_that_is_well_again_is_noticed_without_traffic() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = raw(&receiver, &sink).start().unwrap();
    let folder = own_folder(&gateway);
    block(&folder);
    post(&gateway, &message(Content::large(LARGE)));
    sink.wait_for(1, SOON).unwrap();
    assert_eq!(gateway.admin().get("/readyz").unwrap().status, 503);
    fs::remove_file(&folder).unwrap();
    assert!(wait_until(SOON, || gateway.admin().get("/readyz").unwrap().status == 200));
    // What it was tried with is removed after that.
    assert!(wait_until(SOON, || payload_files(&gateway).is_empty()));
}

#[test]
fn refuse_responds_with_503_where_payloads_cannot_be_kept() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = raw(&receiver, &sink).set("on_store_failure", "refuse").start().unwrap();
    let folder = own_folder(&gateway);
    block(&folder);
    let refused = message(Content::large(LARGE));
    assert_eq!(post(&gateway, &refused).status, 503);
    fs::remove_file(&folder).unwrap();
    // Refused, too, while the store is slow.
    assert!(wait_until(SOON, || post(&gateway, &refused).status == 200));
    let delivered = sink.wait_for(1, SOON).unwrap();
    assert_eq!((delivered.len(), delivered[0].body.length), (1, LARGE));
    // What the receiver did not get whole is no message to it.
    let whole = receiver.requests().iter().filter(|request| request.complete).count();
    assert_eq!(whole, 1);
}

#[test]
fn of_a_payload_over_the_limit_nothing_is_kept() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = raw(&receiver, &sink).set("limits", "{ decoded: 1MiB }").start().unwrap();
    assert_eq!(post(&gateway, &message(Content::large(2 << 20))).status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert!(delivered.header("X-Processing-Error").unwrap().starts_with("1300: "));
    assert_eq!((delivered.body.length, delivered.header("Content-Disposition")), (0, None));
    assert!(wait_until(SOON, || payload_files(&gateway).is_empty()));
    assert_eq!(post(&gateway, &message(Content::large(1 << 20))).status, 200);
    assert_eq!(sink.wait_for(2, SOON).unwrap()[1].body.length, 1 << 20);
}
