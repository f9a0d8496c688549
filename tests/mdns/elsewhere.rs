//! `async_mdn: elsewhere`: a partner whose asynchronous MDNs never pass here.

use std::fs;

use super::*;

#[test]
fn nothing_is_overdue_for_a_partner_whose_asynchronous_mdns_go_elsewhere() {
    let scene = Scene::of_partner(&[SHORT_DEADLINE], &[("async_mdn", "elsewhere")]);
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&message));
    // One that passes here all the same finds its message.
    scene.receive_mdn(negative(&message), &message);
    scene.wait_for("send.error", &message);
}

#[test]
fn nothing_is_overdue_of_what_was_sent_before_the_config_said_elsewhere() {
    let scene = Scene::of_partner(&[SHORT_DEADLINE], &[("async_mdn", "here")]);
    let message = scene.in_time(|message| {
        scene.send(message, Response::ok());
        let config = fs::read_to_string(scene.gateway.config_file()).unwrap();
        let config = config.replace("async_mdn: here", "async_mdn: elsewhere");
        scene.gateway.write("as2hook.yaml", &config).unwrap();
        assert_eq!(scene.gateway.reload().unwrap().status, 200);
    });
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&message));
}
