//! An asynchronous MDN that comes while the store cannot be asked: its verdict waits until it can.

use as2hook_testing::faults;

use super::*;

fn wait_for_readiness(scene: &Scene, status: u16) {
    let is_so = || scene.gateway.readiness().is_some_and(|(found, _)| found == status);
    assert!(wait_until(SOON, is_so), "{:?}", scene.gateway.readiness());
}

fn locked() -> (Scene, faults::Lock) {
    let settings = [("on_store_failure", "pass"), ("mdn_deadline", "10s")];
    let scene = Scene::with(&settings, "json");
    let marker = Message::new("OTHER", "MY-OWN-ORG").attach(part()).build();
    scene.receive(&marker.headers, &marker.body, Response::ok());
    let lock = faults::lock(&scene.gateway.folder().join("data/as2hook.db"));
    scene.receive(&marker.headers, &marker.body, Response::ok());
    wait_for_readiness(&scene, 503);
    (scene, lock)
}

#[test]
fn negative_mdn_of_a_message_that_waits_in_memory_finds_it_once_the_store_is_back() {
    let (scene, lock) = locked();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    scene.receive_mdn(negative(&message), &message);
    assert_eq!(scene.receiver.requests().len(), 3);
    lock.release();
    wait_for_readiness(&scene, 200);
    let delivered = scene.delivered(3);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent", "send.error"]);
    assert_eq!(json_of(&delivered, "mdn.received")["messageKnown"], true);
    let sent = json_of(&delivered, "message.sent");
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn positive_mdn_that_waits_in_memory_keeps_its_message_from_being_overdue() {
    let (scene, lock) = locked();
    let message = message(signed_async());
    let began = std::time::Instant::now();
    scene.send(&message, Response::ok());
    scene.receive_mdn(positive(&message), &message);
    // It is due while the store is away.
    assert!(wait_until(SOON, || began.elapsed() > Duration::from_secs(12)));
    lock.release();
    wait_for_readiness(&scene, 200);
    assert_eq!(scene.events(2), ["mdn.received", "message.sent"]);
    // One that is overdue behind it.
    let overdue = super::message(signed_async());
    scene.send(&overdue, Response::ok());
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["as2MessageId"], overdue.id.as_str());
}

/// It was refused while its record was on its way into a store that was locked, and the record came in later.
#[test]
fn refused_message_whose_record_came_in_later_is_not_reported_overdue() {
    let scene = Scene::with(&[("on_store_failure", "refuse"), ("mdn_deadline", "8s")], "json");
    let lock = faults::lock(&scene.gateway.folder().join("data/as2hook.db"));
    let refused = message(signed_async());
    assert_eq!(scene.send(&refused, Response::ok()).status, 503);
    lock.release();
    wait_for_readiness(&scene, 200);
    // One that is overdue behind it.
    let overdue = super::message(signed_async());
    scene.send(&overdue, Response::ok());
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["as2MessageId"], overdue.id.as_str());
}
