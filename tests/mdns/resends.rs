//! A message that is sent again under its Message-ID: what its attempts come to is merged by rank, so that
//! one that was sent counts for more than one that failed, whichever ends last.

use super::*;

/// Sends it twice: the first attempt is under way until the second has got this response, and fails then.
/// Returns the event of the second.
fn resend(scene: &Scene, message: &Built, second: Response, event: &str) -> Value {
    scene.partner.next([Response::silence(), second]);
    let resent = std::thread::scope(|scope| {
        let send = || scene.gateway.outbound().send(&Post::message("/", message)).unwrap().status;
        let first = scope.spawn(send);
        scene.partner.wait_for(1, SOON).unwrap();
        send();
        let resent = json_of(&scene.delivered(1), event);
        // The first attempt's connection is closed.
        scene.partner.stop();
        assert_eq!(first.join().unwrap(), 502);
        resent
    });
    scene.partner.resume();
    resent
}

#[test]
fn late_failure_of_a_first_attempt_does_not_hide_a_negative_mdn_of_the_resend() {
    let scene = Scene::new();
    let message = message(signed_async());
    let sent = resend(&scene, &message, Response::ok(), "message.sent");
    assert_eq!(scene.events(1), ["send.error"]);
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn late_failure_of_a_first_attempt_leaves_the_mdn_of_the_resend_overdue() {
    let scene = Scene::with(&[("mdn_deadline", "15s")], "json");
    let message = message(signed_async());
    let sent = resend(&scene, &message, Response::ok(), "message.sent");
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "send.error"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["messageEventId"], sent["eventId"]);
}

#[test]
fn failed_resend_does_not_hide_a_negative_mdn_of_the_attempt_that_was_sent() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    scene.send(&message, Response::status(500));
    assert_eq!(scene.events(1), ["send.error"]);
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn late_success_of_a_first_attempt_counts_although_its_resend_failed() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.partner.next([Response::ok().delay(Duration::from_secs(4)), Response::status(500)]);
    std::thread::scope(|scope| {
        let send = || scene.gateway.outbound().send(&Post::message("/", &message)).unwrap().status;
        let first = scope.spawn(send);
        scene.partner.wait_for(1, SOON).unwrap();
        assert_eq!(send(), 500);
        assert_eq!(first.join().unwrap(), 200);
    });
    let sent = json_of(&scene.delivered(2), "message.sent");
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn message_that_fails_at_every_attempt_waits_for_no_mdn() {
    let scene = Scene::with(&[("mdn_deadline", "4s")], "json");
    let failed = message(signed_async());
    for _ in 0..2 {
        scene.send(&failed, Response::status(500));
    }
    assert_eq!(scene.events(2), ["send.error", "send.error"]);
    // One that is overdue behind it.
    let overdue = message(signed_async());
    scene.send(&overdue, Response::ok());
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["as2MessageId"], overdue.id.as_str());
}
