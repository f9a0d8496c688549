//! `as2hook upgrade`: it ends with 0 when the new process serves, and else with the reason, while the old one
//! serves on.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use as2hook_testing::{
    Running,
    gateway::{built_binary, free_address, wait_until},
    receiver, sink,
};

use super::{ENDED_WELL, SOON, gateway, send};

/// What the command came to.
struct Upgraded {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The new process. Nothing of the harness knows it, so it is ended here.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        kill("KILL", &self.0);
    }
}

fn kill(signal: &str, pid: &str) -> bool {
    let kill = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).status();
    kill.is_ok_and(|status| status.success())
}

/// Runs `as2hook upgrade`. Its output goes to files, since the new process keeps its stderr open.
fn upgrade(gateway: &Running, arguments: &[&str]) -> Upgraded {
    let output = |name: &str| gateway.folder().join(name);
    let file = |name: &str| File::create(output(name)).unwrap();
    let status = Command::new(built_binary())
        .args(["upgrade", "-c", gateway.config_file().to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file("upgrade.out"))
        .stderr(file("upgrade.err"))
        .status()
        .unwrap();
    let read = |name: &str| fs::read_to_string(output(name)).unwrap();
    let (stdout, stderr) = (read("upgrade.out"), read("upgrade.err"));
    Upgraded { status: status.code(), stdout, stderr }
}

fn succeeds(gateway: &Running, arguments: &[&str]) -> Successor {
    let Upgraded { status, stdout, stderr } = upgrade(gateway, arguments);
    assert_eq!(status, Some(0), "{stderr}");
    let pid =
        stdout.strip_prefix("Process ").unwrap().strip_suffix(" has taken over and serves.\n");
    Successor(pid.unwrap_or_else(|| panic!("{stdout}")).to_owned())
}

/// The command fails with these words, and the process that ran before serves.
fn fails(gateway: &Running, arguments: &[&str], words: &[&str]) {
    let Upgraded { status, stdout, stderr } = upgrade(gateway, arguments);
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word} is not in\n{stderr}");
    }
    send(gateway, 200);
    assert!(!gateway.log().contains("Handed the listeners over"), "{}", gateway.log());
}

#[test]
fn upgrade_command_returns_when_the_new_process_serves() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let old = gateway.pid().unwrap().to_string();
    let first = succeeds(&gateway, &[]);
    send(&gateway, 200);
    assert_eq!(gateway.wait(SOON).unwrap().to_string(), ENDED_WELL);
    assert!(gateway.log().contains("Handed the listeners over"), "{}", gateway.log());
    // Of the two that run for a moment, the one that listens is found.
    let second = succeeds(&gateway, &["--pid", &first.0]);
    assert!(wait_until(SOON, || !kill("0", &first.0)), "it drains and ends");
    let third = succeeds(&gateway, &[]);
    send(&gateway, 200);
    assert!(wait_until(SOON, || !kill("0", &second.0)), "it drains and ends");
    assert!(![&first.0, &second.0, &old].contains(&&third.0));
}

#[test]
fn upgrade_command_fails_with_each_mistake_of_the_config() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink).start().unwrap();
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write("as2hook.yaml", &config.replace("receiver:", "reciever:")).unwrap();
    fails(&gateway, &[], &["as2hook.yaml:", "reciever", "for the reason above", "serves on"]);
    gateway.write("as2hook.yaml", &config).unwrap();
    // Nothing is left in the way.
    drop(succeeds(&gateway, &[]));
}

#[test]
fn upgrade_command_fails_where_the_admin_address_is_taken() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink).start().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    let admin = gateway.admin().address().to_string();
    gateway.write("as2hook.yaml", &config.replace(&admin, &taken)).unwrap();
    let text = upgrade_that_fails_late(&gateway);
    assert!(text.contains(&format!("{taken}: address in use")), "{text}");
    send(&gateway, 200);
    gateway.write("as2hook.yaml", &config).unwrap();
    drop(succeeds(&gateway, &[]));
}

/// The old process has been asked by then, and serves on.
fn upgrade_that_fails_late(gateway: &Running) -> String {
    let Upgraded { status, stderr, .. } = upgrade(gateway, &[]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(gateway.wait_for_log("were not handed over; this process continues to serve", SOON));
    stderr
}

#[test]
fn upgrade_command_fails_where_no_gateway_runs_or_another_process_is_named() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).prepare().unwrap();
    let none = upgrade(&gateway, &[]);
    assert_eq!(none.status, Some(1));
    assert!(
        none.stderr.contains("no process listens on an address of the config"),
        "{}",
        none.stderr
    );
    gateway.start().unwrap();
    let own = std::process::id().to_string();
    let words = format!("process {own} listens on no address of the config");
    fails(&gateway, &["--pid", &own], &[&words]);
    fails(&gateway, &["--timeout", "0"], &["could not take over within 0 s"]);
}

/// The new process would be outside of the service, which ends with the old one.
#[test]
fn upgrade_command_of_a_service_is_for_its_manager() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let nowhere = "@as2hook-test-without-a-manager";
    let gateway = gateway(&receiver, &sink).environment("NOTIFY_SOCKET", nowhere).start().unwrap();
    fails(&gateway, &[], &["is a service of the system's: `systemctl reload` replaces it"]);
}

#[test]
fn upgrade_command_may_move_a_listener() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    let (old, moved) = (gateway.inbound().address(), free_address());
    gateway.write("as2hook.yaml", &config.replace(&old.to_string(), &moved.to_string())).unwrap();
    let _successor = succeeds(&gateway, &["--timeout", "30"]);
    assert!(gateway.wait(SOON).unwrap().success());
    assert!(as2hook_testing::Client::new(moved).get("/").is_ok());
    assert!(wait_until(Duration::from_secs(5), || gateway.inbound().connect().is_err()));
}
