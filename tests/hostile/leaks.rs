//! Leaks: what a client could learn, or make a webhook's owner believe.

use as2hook_testing::{Post, Response, hostile::Attack};

use crate::stage::{Stage, order};

/// Fields that a proxy of the private network sets, and that the servers behind it believe.
const IDENTITY: [&str; 14] = [
    "X-Remote-User",
    "Remote-User",
    "REMOTE_USER",
    "X-SSL-Client-S-DN",
    "X_SSL_Client_Verify",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Api-Key",
    "X-Real-IP",
    "X-Real-Name",
    "If-Match",
    "If-Modified-Since",
    "Range",
];

#[test]
fn identity_headers_of_a_stranger_never_reach_a_webhook() {
    let stage = Stage::new();
    let message = order();
    let post = IDENTITY.iter().fold(Post::message("/as2", &message), |post, name| {
        post.header(name, "forged-by-a-stranger")
    });
    assert_eq!(stage.gateway.inbound().send(&post).unwrap().status, 200);
    stage.is_notified_whole(&message);
    for request in stage.sink.requests() {
        let head = String::from_utf8_lossy(&request.head.raw);
        let line = head.lines().find(|line| line.contains("forged-by-a-stranger"));
        assert_eq!(line, None, "{}", request.target());
    }
}

#[test]
fn browser_is_refused_by_the_outbound_listener() {
    let stage = Stage::new();
    for (name, value) in [("Origin", "http://evil.example"), ("Sec-Fetch-Mode", "no-cors")] {
        let post = Post::new("/out/ACME", b"hello").header(name, value);
        let reply = stage.gateway.outbound().send(&post).unwrap();
        assert_eq!(reply.status, 403, "{name}: {}", reply.text());
    }
    assert!(stage.partner.requests().is_empty());
}

#[test]
fn request_with_two_content_types_passes_and_is_notified_as_malformed() {
    let stage = Stage::new();
    let message = Attack::new("text/plain", b"hello".to_vec()).message("ACME", "MY-OWN-ORG");
    let post = Post::message("/as2", &message).header("Content-Type", "application/edifact");
    let reply = stage.gateway.inbound().send(&post).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(stage.codes(&message.id).contains(&1100), "{:?}", stage.codes(&message.id));
    stage.order_is_notified_whole();
}

#[test]
fn response_with_a_list_of_lengths_is_a_502() {
    let stage = Stage::new();
    // No length of its own.
    let response = Response::ok().header("Content-Length", "5, 5").body("hello").until_close();
    stage.receiver.next([response]);
    let message = order();
    let reply = stage.gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
    stage.order_is_notified_whole();
}

#[test]
fn log_at_debug_shows_no_authorization_and_no_cookie() {
    let stage = Stage::with(|gateway| gateway.environment("AS2HOOK_LOG", "trace"));
    let message = Attack::new("text/plain", b"hello".to_vec()).message("ACME", "MY-OWN-ORG");
    let post = Post::message("/as2", &message)
        .header("Authorization", "Basic c2VjcmV0LW9mLWEtcGFydG5lcg")
        .header("Cookie", "session=secret-of-a-partner");
    assert_eq!(stage.gateway.inbound().send(&post).unwrap().status, 200);
    assert_eq!(stage.gateway.outbound().send(&post).unwrap().status, 404);
    stage.event_of(&message.id);
    stage.gateway.call("GET", "/admin/status", "").unwrap();
    let log = stage.gateway.log();
    for secret in ["c2VjcmV0LW9mLWEtcGFydG5lcg", "secret-of-a-partner", "test-token"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
