//! The disk of the payload folder is slow at fsync, or does not respond at all: that costs the messages alone
//! that need it.

use as2hook_testing::{Post, faults::BadDisk, gateway::wait_until};

use super::{
    LARGE, large,
    stage::{Mode, SOON, Stage},
};

/// Messages with a payload that are under way while it hangs.
const MANY: usize = 20;

fn stage(mode: Mode) -> (Stage, BadDisk) {
    let mut stage = Stage::new(mode, "raw");
    let disk = BadDisk::under_payloads(&mut stage.gateway).unwrap();
    stage.gateway.start().unwrap();
    stage.send_like(&large(), 2);
    (stage, disk)
}

/// What comes of `MANY` messages that are sent while it hangs, and how many small ones got through before the
/// first of them.
fn hang(stage: &mut Stage, disk: &BadDisk, expected: u16) {
    let hung = large().build();
    let inbound = stage.gateway.inbound();
    disk.hang();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..MANY)
            .map(|number| {
                let fields: Vec<_> =
                    hung.headers.iter().filter(|(name, _)| name != "Message-ID").cloned().collect();
                let (inbound, hung) = (&inbound, &hung);
                scope.spawn(move || {
                    let post = Post::new("/as2", &hung.body).headers(&fields);
                    inbound
                        .send(&post.header("Message-ID", format!("<hung-{number}@acme>")))
                        .unwrap()
                })
            })
            .collect();
        stage.wait_for_trouble("has not completed a write for");
        // Others do not wait for it.
        stage.send_in_peace(100);
        assert!(!senders.iter().any(|sender| sender.is_finished()), "all small ones were before");
        for sender in senders {
            assert_eq!(sender.join().unwrap().status, expected);
        }
    });
    // Now it is known, and nothing waits any more: some 1,000 s otherwise.
    let sent = stage.send_like(&large(), 40);
    assert!(sent.iter().all(|sent| sent.status == Some(expected)), "{sent:?}");
    let threads = stage.gateway.threads().unwrap();
    assert!(threads < 100, "{threads} threads");
    disk.mend();
    stage.wait_for_peace();
    assert_eq!(stage.send_like(&large(), 2)[0].status, Some(200));
}

#[test]
fn hung_payload_folder_costs_other_messages_nothing_and_its_own_their_payload_pass() {
    let (mut stage, disk) = stage(Mode::Pass);
    hang(&mut stage, &disk, 200);
    stage.account("payload folder hangs", 0);
    let all = 2 + MANY + 100 + 40 + 2;
    let delivered = stage.sink.wait_for(all, SOON).unwrap();
    let errors = delivered.iter().filter_map(|delivered| delivered.header("X-Processing-Error"));
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), MANY + 40, "{errors:?}");
    assert!(errors.iter().all(|error| error.starts_with("1300: ")), "{errors:?}");
}

#[test]
fn hung_payload_folder_costs_other_messages_nothing_and_its_own_are_refused_refuse() {
    let (mut stage, disk) = stage(Mode::Refuse);
    hang(&mut stage, &disk, 503);
    stage.account("payload folder hangs", 0);
    assert!(
        stage
            .sink
            .requests()
            .iter()
            .all(|delivered| delivered.header("X-Processing-Error").is_none())
    );
}

#[test]
fn payload_whose_fsync_takes_longer_than_the_message_may_wait_is_refused() {
    let (mut stage, disk) = stage(Mode::Refuse);
    disk.slow_down(40_000);
    let sent = stage.send_like(&large(), 4);
    assert!(sent.iter().all(|sent| sent.status == Some(503)), "{sent:?}");
    disk.mend();
    stage.wait_for_peace();
    stage.send_like(&large(), 2);
    stage.account("fsync of a payload takes 40 s", 0);
}

#[test]
fn payload_whose_fsync_takes_longer_than_the_message_waits_is_kept() {
    for mode in [Mode::Pass, Mode::Refuse] {
        let (mut stage, disk) = stage(mode);
        disk.slow_down(6_000);
        let sent = stage.send_like(&large(), 4);
        assert!(sent.iter().all(|sent| sent.status == Some(200)), "{sent:?}");
        disk.mend();
        stage.account("fsync of a payload takes 6 s", 0);
        let whole =
            stage.sink.requests().iter().filter(|delivered| delivered.body.length == LARGE).count();
        assert!(wait_until(SOON, || whole >= 6));
        assert!(stage.sink.requests().iter().all(|t| t.header("X-Processing-Error").is_none()));
    }
}
