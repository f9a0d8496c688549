//! No file handles are left.

use std::{
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::Post;

use super::{
    large,
    stage::{Mode, Stage},
};

fn out_of_handles(mode: Mode) {
    let mut stage = Stage::new(mode, "raw");
    stage.gateway.set_wrapper(&["sh", "-c", "ulimit -n 96 && exec \"$@\"", "sh"]);
    stage.start();
    let inbound = stage.gateway.inbound();
    let send = |id: &str| {
        let message = large().id(id).build();
        inbound.send(&Post::message("/as2", &message)).unwrap().status
    };
    assert_eq!(send("<first@acme.example>"), 200);
    let hogs: Vec<_> = (0..128).map(|_| inbound.connect().unwrap()).collect();
    // They do not get the last ones: those make room that wait, and the admin listener has some left.
    for _ in 0..10 {
        assert_eq!(stage.gateway.admin().get("/healthz").unwrap().status, 200);
    }
    // Any response will do. Not the same message: with the store out of reach a repeated one
    // is not known as such.
    let status = send("<other@acme.example>");
    assert!([200, 502, 503].contains(&status), "{status}");
    // What that took is no part of it.
    let (began, before) = (Instant::now(), stage.gateway.cpu_time().unwrap());
    thread::sleep(Duration::from_secs(3));
    let (spent, passed) = (stage.gateway.cpu_time().unwrap() - before, began.elapsed());
    assert!(spent < passed / 2, "it spins: {spent:?} in {passed:?}");
    drop(hogs);
    stage.wait_for_peace();
    stage.send_in_peace(10);
    stage.account("no file handles left", 0);
}

#[test]
fn out_of_handles_pass() {
    out_of_handles(Mode::Pass);
}

#[test]
fn out_of_handles_refuse() {
    out_of_handles(Mode::Refuse);
}
