//! Attachments for download: those that deliveries need, all with `keep: all`, and since when they are gone.

use as2hook_testing::{
    Content, Gateway, Message, Part, Post, Running, gateway::wait_until, pki, sink,
};

use super::{ALL, SOON, any_receiver, gateway, get_as};

/// Larger than what stands in the event's row.
const LARGE: usize = 300_000;

fn parts() -> [Vec<u8>; 3] {
    let large = (0..LARGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    [b"UNA:+.? '".to_vec(), large, b"<invoice/>".to_vec()]
}

fn send(gateway: &Running) {
    let mut message = Message::new("ACME", "MY-OWN-ORG");
    for (n, bytes) in parts().into_iter().enumerate() {
        message = message.attach(Part::new(
            &format!("{n}.bin"),
            "application/octet-stream",
            Content::Bytes(bytes),
        ));
    }
    let message = message.sign(pki::partner()).build();
    let sent = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(sent.status, 200);
}

/// The path of the one event, once it is there.
fn event(gateway: &Running) -> String {
    let events = || get_as(gateway, ALL, "/admin/events").json()["data"].clone();
    assert!(wait_until(SOON, || events().as_array().unwrap().len() == 1));
    format!("/admin/events/{}", events()[0]["id"].as_str().unwrap())
}

fn available(gateway: &Running, event: &str) -> Vec<bool> {
    let detail = get_as(gateway, ALL, event).json();
    let attachments = detail["data"]["attachments"].as_array().unwrap();
    attachments.iter().map(|one| one["available"].as_bool().unwrap()).collect()
}

fn download(gateway: &Running, event: &str, n: usize) -> (u16, Vec<u8>) {
    let reply = get_as(gateway, ALL, &format!("{event}/attachments/{n}"));
    (reply.status, reply.body.bytes)
}

fn assert_all_are_kept(gateway: &Running) {
    let event = event(gateway);
    assert_eq!(available(gateway, &event), [true; 3]);
    for (index, bytes) in parts().into_iter().enumerate() {
        assert!(download(gateway, &event, index + 1) == (200, bytes), "{index}");
    }
}

#[test]
fn all_attachments_are_kept_where_the_rule_says_so_and_raw_delivers_the_first_alone() {
    for sealed in ["false", "true"] {
        let hook = sink().start();
        let rule =
            |rule: as2hook_testing::Rule| rule.to(&hook, "/").payload("raw").set("keep", "all");
        let gateway = gateway(any_receiver()).set("encrypt_payloads", sealed);
        let gateway = gateway.rule("orders", rule).start().unwrap();
        send(&gateway);
        assert_eq!(hook.wait_for(1, SOON).unwrap()[0].body.bytes, parts()[0], "{sealed}");
        assert_all_are_kept(&gateway);
    }
}

#[test]
fn all_attachments_are_kept_for_headers_where_the_gateway_says_so() {
    let hook = sink().start();
    let gateway = gateway(any_receiver()).set("keep", "all");
    let gateway = gateway.rule("orders", |rule| rule.to(&hook, "/")).start().unwrap();
    send(&gateway);
    assert!(hook.wait_for(1, SOON).unwrap()[0].body.bytes.is_empty());
    assert_all_are_kept(&gateway);
}

#[test]
fn first_attachment_alone_is_kept_for_raw_deliveries_by_default() {
    let hook = sink().start();
    let gateway = gateway(any_receiver());
    let gateway =
        gateway.rule("orders", |rule| rule.to(&hook, "/").payload("raw")).start().unwrap();
    send(&gateway);
    let event = event(&gateway);
    assert_eq!(available(&gateway, &event), [true, false, false]);
    assert_eq!(download(&gateway, &event, 1).1, parts()[0]);
    let (status, refused) = download(&gateway, &event, 2);
    assert_eq!(status, 410);
    assert!(String::from_utf8_lossy(&refused).contains("keep: all"));
}

#[test]
fn attachment_that_was_removed_says_since_when() {
    let hook = sink().start();
    let settings =
        |gateway: Gateway| gateway.set("retention", "{ payloads: 1s }").set("keep", "all");
    let gateway = settings(gateway(any_receiver()));
    let gateway = gateway.rule("orders", |rule| rule.to(&hook, "/")).start().unwrap();
    send(&gateway);
    let event = event(&gateway);
    assert!(wait_until(SOON, || available(&gateway, &event) == [false; 3]));
    let detail = get_as(&gateway, ALL, &event).json();
    let since = detail["data"]["attachments"][0]["gone_since"].as_str().unwrap().to_owned();
    let (status, refused) = download(&gateway, &event, 1);
    assert_eq!(status, 410);
    assert!(String::from_utf8_lossy(&refused).contains(&since));
}
