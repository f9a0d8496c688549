use std::time::{Duration, Instant};

use super::*;
use crate::endpoint::{receiver, sink};
use crate::http::Framing;
use crate::message::{Content, Message, Part};
use crate::response::Response;

#[test]
fn chunks_have_the_sizes_asked_for() {
    let sink = sink().start();
    let post = Post::new("/", b"0123456789").chunked(&[1, 4]);
    Client::new(sink.address()).send(&post).unwrap();
    let got = &sink.requests()[0];
    assert_eq!(got.framing, Framing::Chunked(vec![1, 4, 1, 4]));
    assert_eq!(got.text(), "0123456789");
}

#[test]
fn waits_for_the_invitation_and_does_without_one() {
    let sink = sink().start();
    let client = Client::new(sink.address());
    let invited = client.send(&Post::new("/", b"x").expect_continue()).unwrap();
    assert_eq!(invited.interim[0].word(1), "100");
    sink.next([Response::ok().uninviting()]);
    let began = Instant::now();
    let uninvited = client.send(&Post::new("/", b"x").expect_continue()).unwrap();
    assert!(uninvited.interim.is_empty() && began.elapsed() >= Duration::from_secs(1));
    sink.next([Response::status(413).early().then_close()]);
    let refused = client.send(&Post::new("/", b"x").expect_continue()).unwrap();
    assert_eq!(refused.status, 413);
}

#[test]
fn half_closed_old_slow_and_pipelined_requests_get_responses() {
    let sink = sink().start();
    let client = Client::new(sink.address());
    assert_eq!(client.send(&Post::new("/", b"x").half_close()).unwrap().status, 200);
    assert_eq!(client.send(&Post::new("/", b"x").http10()).unwrap().status, 200);
    let slow = Post::new("/", b"abc").slowly(1, Duration::from_millis(10));
    assert_eq!(client.send(&slow).unwrap().status, 200);
    let posts = [Post::new("/1", b"x"), Post::new("/2", b"y")];
    assert_eq!(client.connect().unwrap().pipeline(&posts).unwrap().len(), 2);
    assert_eq!(sink.requests().last().unwrap().target(), "/2");
}

#[test]
fn a_cut_body_is_cut_in_either_framing() {
    let sink = sink().start();
    let client = Client::new(sink.address());
    for post in [Post::new("/", b"0123456789"), Post::new("/", b"0123456789").chunked(&[4])] {
        sink.forget();
        drop(client.send(&post.cut(6)));
        let got = sink.wait_for(1, Duration::from_secs(60)).unwrap();
        assert_eq!((got[0].complete, got[0].text().as_ref()), (false, "012345"));
    }
}

#[test]
fn a_streamed_message_is_the_one_that_was_built() {
    let receiver = receiver().start();
    let message = Message::new("A", "B").attach(Part::new(
        "a.bin",
        "application/octet-stream",
        Content::large(300_000),
    ));
    let client = Client::new(receiver.address());
    client.send(&Post::stream("/", &message, Some(message.length()))).unwrap();
    client.send(&Post::stream("/", &message, None)).unwrap();
    let got = receiver.requests();
    assert_eq!(got[0].framing, Framing::Length(300_000));
    assert!(got[1].framing.is_chunked());
    assert_eq!(got[0].body, got[1].body);
    assert_eq!(got[0].body.sha256, Content::large(300_000).sha256());
}
