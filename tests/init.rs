//! `as2hook init`: what it writes is right, serves at once, and is what an OpenAS2 has.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "init/openas2.rs"]
mod openas2;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use as2hook_testing::{
    Client, Endpoint, Message, Part, Post, Ran, Request, as2hook,
    gateway::{built_binary, free_address},
    receiver, sink, wait_until,
};

const SOON: Duration = Duration::from_secs(120);

fn init(folder: &Path, more: &[&str]) -> Ran {
    as2hook(&[&["init", folder.to_str().unwrap()], more].concat())
}

fn check_strictly(folder: &Path) -> Ran {
    as2hook(&["check", "--strict", "-c", folder.join("as2hook.yaml").to_str().unwrap()])
}

/// Changes a file of the new config; each text stands there once.
fn replace(path: &Path, pairs: &[(&str, &str)]) {
    let mut text = fs::read_to_string(path).unwrap();
    for (old, new) in pairs {
        assert_eq!(text.matches(old).count(), 1, "{old} in\n{text}");
        text = text.replace(old, new);
    }
    fs::write(path, text).unwrap();
}

/// A gateway that ends with the test.
struct Started {
    child: Child,
    inbound: SocketAddr,
    outbound: SocketAddr,
    admin: SocketAddr,
}

impl Started {
    /// Runs the new config on free ports, with `sink` as its first webhook's endpoint.
    fn run(folder: &Path, sink: &str, more: &[(&str, &str)]) -> Self {
        let [inbound, outbound, admin] = [(); 3].map(|()| free_address());
        let (config, rules) = (folder.join("as2hook.yaml"), folder.join("webhooks.yaml"));
        let text = fs::read_to_string(&config).unwrap();
        let has_outbound = text.contains("\n  outbound: ");
        let listeners = [
            ("\"0.0.0.0:8080\"", format!("\"{inbound}\"")),
            ("\"127.0.0.1:8081\"", format!("\"{admin}\"")),
            ("\"127.0.0.1:8085\"", format!("\"{outbound}\"")),
        ];
        let listeners = listeners.iter().take(if has_outbound { 3 } else { 2 });
        let pairs: Vec<_> = listeners.map(|(old, new)| (*old, new.as_str())).collect();
        replace(&config, &[&pairs, more].concat());
        replace(&rules, &[("url: \"http://127.0.0.1:8090/\"", &format!("url: \"{sink}\""))]);
        let child = Command::new(built_binary()).arg("run").arg("-c").arg(&config).spawn().unwrap();
        let started = Self { child, inbound, outbound, admin };
        let ready = || Client::new(admin).get("/readyz").is_ok_and(|reply| reply.status == 200);
        assert!(wait_until(SOON, ready));
        started
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The webhooks of an event, once there are so many. The receiver's MDNs make events of their own.
fn delivered(sink: &Endpoint, event: &str, count: usize) -> Vec<Arc<Request>> {
    let found = || -> Vec<_> {
        let all = sink.requests().into_iter();
        all.filter(|request| request.header("X-AS2-Event") == Some(event)).collect()
    };
    assert!(wait_until(SOON, || found().len() >= count), "{event}: {:?}", sink.requests());
    found()
}

#[test]
fn new_config_passes_the_strict_check_and_delivers_its_first_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("conf");
    let ran = init(&conf, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let checked = check_strictly(&conf);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    let (receiver, sink) = (receiver().start(), sink().start());
    let url = receiver.url("");
    let gateway =
        Started::run(&conf, &sink.url("/"), &[(":-http://127.0.0.1:10080", &format!(":-{url}"))]);
    let message = Message::new("ACME", "WE")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    let reply = Client::new(gateway.inbound).send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 200);
    let delivered = &delivered(&sink, "message.received", 1)[0];
    assert!(delivered.header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!(delivered.json()["attachments"][0]["name"], "order.edi");
    let admin = format!("http://{}", gateway.admin);
    let token = conf.join("admin.token");
    let status = as2hook(&["status", "--admin", &admin, "--token-file", token.to_str().unwrap()]);
    assert_eq!(status.status, Some(0), "{status:?}");
}

#[test]
fn secrets_are_new_each_time_and_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = ["a", "b"].map(|name| {
        let conf = folder.path().join(name);
        let ran = init(&conf, &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ["admin.token", "webhook.secret", "as2hook.yaml", "webhooks.yaml"].map(|name| {
            let path = conf.join(name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
            let text = fs::read_to_string(path).unwrap();
            assert!(!ran.stdout.contains(text.trim()), "{ran:?}");
            text
        })
    });
    assert_ne!(secrets[0][0], secrets[1][0]);
    assert_ne!(secrets[0][1], secrets[1][1]);
    assert!(secrets[0][1].starts_with("whsec_"));
    assert!(!secrets[0][2].contains(secrets[0][0].trim()));
}

#[test]
fn existing_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("webhooks.yaml"), "mine").unwrap();
    let ran = init(folder.path(), &[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("has webhooks.yaml already, and nothing is overwritten"),
        "{ran:?}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("webhooks.yaml")).unwrap(), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn options_of_openas2_need_its_config() {
    let ran = as2hook(&["init", "conf", "--station", "WE"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
}
