//! No file handles are left.

use std::{
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::Post;

use super::{
    large,
    stage::{Mode, SOON, Stage},
};

fn out_of_handles(mode: Mode) {
    let mut stage = Stage::new(mode, "raw");
    stage.gateway.set_wrapper(&["sh", "-c", "ulimit -n 96 && exec \"$@\"", "sh"]);
    stage.start();
    let inbound = stage.gateway.inbound();
    let mut kept = inbound.connect().unwrap();
    assert_eq!(kept.send(&Post::message("/as2", &large().build())).unwrap().status, 200);
    let hogs: Vec<_> = (0..128).map(|_| inbound.connect().unwrap()).collect();
    stage.gateway.wait_for_log("Accept() failed", SOON);
    // Whatever it is, it is an answer. Not the same message: with the store out of reach a repeated one
    // is not known as such.
    let other = large().id("<other@acme.example>").build();
    let status = kept.send(&Post::message("/as2", &other)).unwrap().status;
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
