//! Changed files are put in force as a whole or not at all, and no request notices (section 3 of the
//! design, "Reload").

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Running,
    gateway::{Rule, wait_until},
    pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

fn gateway(receiver: &Endpoint, sink: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("first", |rule| {
            rule.to(sink, "/first").events(&["message.received", "message.duplicate"])
        })
        .start()
        .unwrap()
}

fn send(gateway: &Running) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

/// Whether a message sent now is delivered to this path.
fn is_delivered_to(gateway: &Running, sink: &Endpoint, path: &str) -> bool {
    sink.forget();
    send(gateway);
    sink.wait_for(1, SOON).unwrap()[0].target() == path
}

#[test]
fn reload_over_the_api_reports_what_changed() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    let rules = [Rule::new("first").to(&sink, "/changed"), Rule::new("second").to(&sink, "/b")];
    let rules = [rules[0].clone(), rules[1].clone().set("partner", "OTHER")];
    gateway.write_rules(&rules).unwrap();
    let response = gateway.reload().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["status"], "ok");
    // The watcher may have been quicker: then there is nothing left to change.
    assert!(response.json()["generation"].as_u64() >= Some(2));
    assert!(is_delivered_to(&gateway, &sink, "/changed"));
}

#[test]
fn a_broken_file_keeps_what_is_in_force_and_names_every_mistake() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    gateway
        .write(
            "webhooks.yaml",
            "webhooks:\n  - name: a\n    url: \"ftp://x/\"\n    payloat: json\n  - name: a\n    url: 7\n",
        )
        .unwrap();
    let response = gateway.reload().unwrap();
    assert_eq!(response.status, 422);
    let response = response.json();
    assert_eq!(response["status"], "error");
    let errors = response["errors"].as_array().unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["path"].as_str().unwrap().to_owned()))
        .collect();
    for place in [(3, "webhooks[0].url"), (4, "webhooks[0].payloat"), (6, "webhooks[1].url")] {
        assert!(places.contains(&(place.0, place.1.to_owned())), "{place:?} in {errors:#?}");
    }
    for error in errors {
        assert!(error["file"].as_str().unwrap().ends_with("webhooks.yaml"), "{error}");
        assert!(error["column"].as_u64().unwrap() >= 1, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
    }
    assert!(is_delivered_to(&gateway, &sink, "/first"));
    let status = gateway.call("GET", "/admin/status", "").unwrap().json();
    assert_eq!(status["last_reload"]["ok"], false);
    assert_eq!(status["generation"], 1);
}

#[test]
fn change_that_needs_a_restart_is_refused_with_its_reason() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    let moved = config.replace("sqlite:data/as2hook.db", "sqlite:data/other.db");
    assert_ne!(config, moved);
    gateway.write("as2hook.yaml", &moved).unwrap();
    let response = gateway.reload().unwrap();
    assert_eq!(response.status, 422);
    assert_eq!(response.json()["errors"][0]["path"], "store");
}

#[test]
fn reload_needs_an_admins_token() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    for authorization in [None, Some("Bearer wrong"), Some("Basic dGVzdC10b2tlbg==")] {
        let mut post = Post::method("POST", "/admin/reload");
        if let Some(value) = authorization {
            post = post.header("Authorization", value);
        }
        let response = gateway.admin().send(&post).unwrap();
        assert_eq!(response.status, 401);
        assert_eq!(response.json()["msg"], "Invalid token");
    }
}

#[test]
fn an_edited_file_is_noticed() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    gateway.write_rules(&[Rule::new("first").to(&sink, "/edited")]).unwrap();
    assert!(wait_until(SOON, || is_delivered_to(&gateway, &sink, "/edited")), "{}", gateway.log());
}

#[test]
fn a_file_replaced_by_rename_and_a_swapped_link_are_noticed() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    let rules = gateway.folder().join("webhooks.yaml");
    let rule =
        |path: &str| format!("webhooks:\n  - {{ name: first, url: \"{}\" }}\n", sink.url(path));
    fs::write(gateway.folder().join("new.yaml"), rule("/renamed")).unwrap();
    fs::rename(gateway.folder().join("new.yaml"), &rules).unwrap();
    assert!(wait_until(SOON, || is_delivered_to(&gateway, &sink, "/renamed")), "{}", gateway.log());
    // As Kubernetes does it: the file is a link through `..data`, which is swapped.
    for (version, path) in [("v1", "/linked"), ("v2", "/swapped")] {
        let folder = gateway.folder().join(version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("webhooks.yaml"), rule(path)).unwrap();
        let link = gateway.folder().join("..data_tmp");
        symlink(version, &link).unwrap();
        fs::rename(&link, gateway.folder().join("..data")).unwrap();
        if version == "v1" {
            fs::remove_file(&rules).unwrap();
            symlink("..data/webhooks.yaml", &rules).unwrap();
        }
        assert!(wait_until(SOON, || is_delivered_to(&gateway, &sink, path)), "{}", gateway.log());
    }
}

#[test]
fn sighup_reloads() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    gateway.write_rules(&[Rule::new("first").to(&sink, "/hup")]).unwrap();
    gateway.signal("HUP").unwrap();
    assert!(wait_until(SOON, || is_delivered_to(&gateway, &sink, "/hup")), "{}", gateway.log());
}

#[test]
fn no_request_fails_while_rules_are_reloaded_again_and_again() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &sink);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (stop, sent, inbound) = (stop.clone(), sent.clone(), gateway.inbound());
            thread::spawn(move || {
                let mut connection = inbound.connect().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    // The same one again would be a duplicate, which no rule here asks for.
                    let message = Message::new("ACME", "MY-OWN-ORG")
                        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
                        .build();
                    let reply = connection.send(&Post::message("/as2", &message)).unwrap();
                    assert_eq!(reply.status, 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for nth in 0..10 {
        let before = sent.load(Ordering::Relaxed);
        let path = format!("/hook-{nth}");
        // Each sender sends the same message again and again.
        let both = ["message.received", "message.duplicate"];
        let rule = Rule::new("first").to(&sink, &path).events(&both);
        gateway.write_rules(&[rule]).unwrap();
        assert_eq!(gateway.reload().unwrap().status, 200);
        assert!(wait_until(SOON, || sent.load(Ordering::Relaxed) > before + 20));
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    sink.wait_for(sent.load(Ordering::Relaxed), SOON).unwrap();
}
