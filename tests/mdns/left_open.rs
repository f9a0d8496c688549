//! MDNs and their messages whose gateway is killed before the verdict is written: the next process adopts the
//! open exchange, whose outcome is unknown, and what its MDN says of a message holds all the same.

use as2hook_testing::faults::{self, Lock};

use super::*;

fn scene(mdn_deadline: &str) -> Scene {
    Scene::with(&[("on_store_failure", "pass"), ("mdn_deadline", mdn_deadline)], "json")
}

/// A 200 of an endpoint, before which the store is locked: the exchange is recorded, and its verdict is not
/// written.
fn ok_behind_a_lock(scene: &Scene) -> (Response, Arc<Mutex<Option<Lock>>>) {
    let database = scene.gateway.folder().join("data/as2hook.db");
    let lock = Arc::new(Mutex::new(None));
    let held = lock.clone();
    let act = move || *held.lock().unwrap() = Some(faults::lock(&database));
    (Response::ok_after(act), lock)
}

/// Kills the gateway while the store is locked, and starts another process.
fn kill(scene: &mut Scene, lock: &Mutex<Option<Lock>>) {
    scene.gateway.kill9();
    lock.lock().unwrap().take().expect("the exchange was recorded").release();
    scene.gateway.restart().unwrap();
}

/// The partner has the 200 for its MDN, and the gateway is killed before the verdict is written.
fn receive_mdn_and_kill(scene: &mut Scene, mdn: Mdn, message: &Built) {
    let (response, lock) = ok_behind_a_lock(scene);
    let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &message.id).into_parts();
    assert_eq!(scene.receive(&headers, &body, response).status, 200);
    kill(scene, &lock);
}

fn has_unknown_outcome(mdn: &Value) -> bool {
    mdn["errors"].as_array().is_some_and(|errors| errors.iter().any(|e| e["code"] == 1500))
}

#[test]
fn negative_mdn_whose_gateway_was_killed_takes_its_message_back() {
    let mut scene = scene("1h");
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    receive_mdn_and_kill(&mut scene, negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    let mdn = json_of(&delivered, "mdn.received");
    assert!(has_unknown_outcome(&mdn), "{mdn}");
    assert_eq!(mdn["messageKnown"], true);
    assert_eq!(mdn["messageEventId"], sent["eventId"]);
    assert_eq!(mdn["mdnMode"], "async");
    let error = json_of(&delivered, "send.error");
    assert_eq!(error["supersedes"], sent["eventId"]);
    assert_eq!(error["error"]["stage"], "mdn");
    // The partner posts it again: it was reported already.
    scene.receive_mdn(negative(&message), &message);
    assert_eq!(scene.events(1), ["mdn.received"]);
}

#[test]
fn positive_mdn_whose_gateway_was_killed_keeps_its_message_from_being_overdue() {
    let mut scene = scene("15s");
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    receive_mdn_and_kill(&mut scene, positive(&message), &message);
    // One that is overdue behind it.
    let overdue = super::message(signed_async());
    scene.send(&overdue, Response::ok());
    let delivered = scene.delivered(3);
    assert_eq!(names(&delivered), ["mdn.overdue", "mdn.received", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["as2MessageId"], overdue.id.as_str());
    let mdn = json_of(&delivered, "mdn.received");
    assert!(has_unknown_outcome(&mdn), "{mdn}");
    assert_eq!(mdn["messageKnown"], true);
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["messageEventId"], sent["eventId"]);
}

#[test]
fn mdn_about_an_unknown_message_whose_gateway_was_killed_is_marked() {
    let mut scene = scene("1h");
    let never = message(signed_async());
    receive_mdn_and_kill(&mut scene, negative(&never), &never);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    let mdn = delivered[0].json();
    assert!(has_unknown_outcome(&mdn), "{mdn}");
    assert_eq!(mdn["messageKnown"], false);
}

#[test]
fn forged_mdn_whose_gateway_was_killed_changes_nothing() {
    let mut scene = scene("1h");
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let forged = Mdn::error("authentication-failed").mic(&message.mic);
    receive_mdn_and_kill(&mut scene, forged, &message);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    let codes: Vec<_> = delivered[0].json()["errors"].as_array().unwrap().clone();
    assert!(codes.iter().any(|error| error["code"] == 900), "{codes:?}");
    // The true one counts still.
    scene.receive_mdn(negative(&message), &message);
    assert_eq!(scene.events(2), BOTH);
}

#[test]
fn negative_mdn_and_its_message_that_were_left_open_together_are_matched() {
    let mut scene = scene("1h");
    let message = message(signed_async());
    scene.partner.next([Response::silence()]);
    std::thread::scope(|scope| {
        let client = scene.gateway.outbound();
        let message = &message;
        let sent = scope.spawn(move || client.send(&Post::message("/", message)));
        scene.partner.wait_until(1, SOON, |request| request.complete).unwrap();
        receive_mdn_and_kill(&mut scene, negative(message), message);
        assert!(sent.join().unwrap().is_err(), "our server cannot have got a response");
    });
    let delivered = scene.delivered(3);
    assert_eq!(names(&delivered), ["mdn.received", "send.error", "send.error"]);
    let is_error =
        |delivered: &&Arc<Request>| delivered.header("X-AS2-Event") == Some("send.error");
    let errors: Vec<_> = delivered.iter().filter(is_error).collect();
    let of_stage = |stage: &str| {
        let mut errors = errors.iter().map(|error| error.json());
        errors.find(|error| error["error"]["stage"] == stage).unwrap()
    };
    let unknown = of_stage("unknown");
    assert_eq!(of_stage("mdn")["supersedes"], unknown["eventId"]);
    assert_eq!(json_of(&delivered, "mdn.received")["messageEventId"], unknown["eventId"]);
}

/// The partner has the message, and the gateway is killed before the verdict is written.
fn send_and_kill(scene: &mut Scene, message: &Built) {
    let (response, lock) = ok_behind_a_lock(scene);
    assert_eq!(scene.send(message, response).status, 200);
    kill(scene, &lock);
}

#[test]
fn message_of_unknown_outcome_is_found_by_its_mdn_and_taken_back() {
    let mut scene = scene("1h");
    let message = message(signed_async());
    send_and_kill(&mut scene, &message);
    let unknown = json_of(&scene.delivered(1), "send.error");
    assert_eq!(unknown["error"]["stage"], "unknown");
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "mdn.received")["messageKnown"], true);
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], unknown["eventId"]);
}

#[test]
fn mdn_of_a_message_of_unknown_outcome_is_overdue() {
    let mut scene = scene("1s");
    let message = message(signed_async());
    send_and_kill(&mut scene, &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "send.error"]);
    let unknown = json_of(&delivered, "send.error");
    assert_eq!(unknown["error"]["stage"], "unknown");
    assert_eq!(json_of(&delivered, "mdn.overdue")["messageEventId"], unknown["eventId"]);
}

#[test]
fn message_is_received_again_after_our_negative_mdn_whose_gateway_was_killed() {
    let mut scene = scene("1h");
    let order = order(signed_async());
    scene.receive(&order.headers, &order.body, Response::ok());
    let received = json_of(&scene.delivered(1), "message.received");
    let (response, lock) = ok_behind_a_lock(&scene);
    let mdn = Mdn::error("unexpected-processing-error").sign(pki::station(), Digest::Sha256);
    let (headers, body) = mdn.about("MY-OWN-ORG", "ACME", &order.id).into_parts();
    scene.partner.next([response]);
    let post = Post::new("/out/ACME", &body).headers(&headers);
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
    kill(&mut scene, &lock);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["send.error"]);
    assert_eq!(delivered[0].json()["error"]["stage"], "unknown");
    assert_eq!(delivered[0].json()["messageEventId"], received["eventId"]);
    scene.receive(&order.headers, &order.body, Response::ok());
    assert_eq!(scene.events(1), ["message.received"]);
}
