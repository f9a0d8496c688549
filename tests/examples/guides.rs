//! The guides to AS2 servers: each config passes messages in both directions, and what stands in it as a comment is
//! right, too.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Command};

use as2hook_testing::{
    Client, Message, Part, Post,
    gateway::{free_address, wait_until},
    pki, receiver, sink,
};
use openssl::{pkcs12::Pkcs12, pkey::PKey, x509::X509};

use super::{Killed, SOON, root};

#[test]
fn openas2_guide_passes_messages_in_both_directions() {
    passes_in_both_directions("openas2", "/", ("MyCompany_OID", "PartnerA_OID"), "/as2");
}

#[test]
fn mendelson_guide_passes_messages_in_both_directions() {
    let path = "/as2/HttpReceiver";
    passes_in_both_directions("mendelson", path, ("mycompanyAS2", "partnerAS2"), path);
}

#[test]
fn django_pyas2_guide_passes_messages_in_both_directions() {
    passes_in_both_directions("django-pyas2", "/pyas2/as2receive", ("MY-OWN-ORG", "ACME"), "/as2");
}

#[test]
fn black_box_guide_passes_messages_in_both_directions() {
    let path = "/b2bhttp/inbound/as2";
    passes_in_both_directions("black-box", path, ("MY-OWN-ORG", "ACME"), "/as2");
}

/// Each block of YAML in the documentation that is a config or rules, or a part of one.
#[test]
fn yaml_of_the_documentation_is_right() {
    let docs = root().join("docs");
    let pages = [root(), docs.clone(), docs.join("guides")].map(|folder| {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|extension| extension == "md"))
    });
    let mut checked = 0;
    for page in pages.into_iter().flatten() {
        let text = fs::read_to_string(&page).unwrap();
        let blocks =
            text.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
        for block in blocks {
            let is_guide = page.parent().is_some_and(|folder| folder.ends_with("guides"));
            if let Some(mistakes) = mistakes_of(block) {
                assert!(mistakes.is_empty(), "{}: {mistakes:#?}\n{block}", page.display());
                checked += 1;
            } else {
                assert!(!is_guide, "{}: neither a config nor rules:\n{block}", page.display());
            }
        }
    }
    assert!(checked >= 9, "{checked}");
}

/// What `check` says of a part of a config or of rules; `None` where it is neither. Its files and variables are not there.
fn mistakes_of(block: &str) -> Option<Vec<String>> {
    let has = |key: &str| block.lines().any(|line| line.starts_with(&format!("{key}:")));
    let receiver = "receiver: { url: \"http://127.0.0.1:10080\" }\n";
    // Of a program with sinks of its own.
    let is_rules = block.lines().any(|line| line == "webhooks:") && !block.contains("sink:");
    let keys =
        ["receiver", "listen", "stations", "partners", "api", "store", "limits", "retention"];
    let (config, rules) = match is_rules {
        true => (receiver.to_owned(), block.to_owned()),
        false if !keys.iter().any(|key| has(key)) => return None,
        false if has("receiver") => (block.to_owned(), "webhooks: []\n".to_owned()),
        false => (format!("{receiver}{block}"), "webhooks: []\n".to_owned()),
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("as2hook.yaml"), config).unwrap();
    fs::write(folder.path().join("webhooks.yaml"), rules).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_as2hook"))
        .args(["check", "--json", "-c", "as2hook.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mistakes = said["mistakes"].as_array().unwrap().iter().map(|it| it.to_string());
    let is_of_files =
        |mistake: &String| mistake.contains("does not exist") || mistake.contains("is not set");
    Some(mistakes.filter(|mistake| !is_of_files(mistake)).collect())
}

#[test]
fn commented_keys_of_the_guides_are_right_with_the_files_that_they_name() {
    let (station, partner) = (pki::station(), pki::partner());
    let pem = |key: &PKey<_>, certificate: &X509| {
        [key.private_key_to_pem_pkcs8().unwrap(), certificate.to_pem().unwrap()].concat()
    };
    let pkcs12 = Pkcs12::builder()
        .name("mycompany")
        .pkey(&station.key)
        .cert(&station.certificate)
        .build2("of the keystore")
        .unwrap();
    for name in ["openas2", "mendelson", "django-pyas2"] {
        let folder = tempfile::tempdir().unwrap();
        let guide = root().join("examples/configs").join(name);
        let config = fs::read_to_string(guide.join("as2hook.yaml")).unwrap();
        let with_keys = ["keys:", "mdn_urls:", "certificates:"]
            .iter()
            .fold(config.clone(), |text, key| text.replace(&format!("# {key}"), key));
        assert_eq!(with_keys.len(), config.len() - 6, "{name}: three keys stand there as comments");
        fs::write(folder.path().join("as2hook.yaml"), with_keys).unwrap();
        fs::copy(guide.join("webhooks.yaml"), folder.path().join("webhooks.yaml")).unwrap();
        let own = pem(&station.key, &station.certificate);
        for (file, bytes) in [("mycompany.p12", pkcs12.to_der().unwrap()), ("my-own-org.pem", own)]
        {
            let file = folder.path().join(file);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for file in ["partnera.crt", "partner.crt", "acme.crt"] {
            let certificate = partner.certificate.to_pem().unwrap();
            fs::write(folder.path().join(file), certificate).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_as2hook"))
            .args(["check", "--strict", "-c", "as2hook.yaml"])
            .env("KEY_PASS", "of the keystore")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    }
}

/// Runs a guide's config with other addresses; `path` is the server's, `partner_path` that of the partner's URL.
fn passes_in_both_directions(
    name: &str,
    path: &str,
    (station, partner): (&str, &str),
    partner_path: &str,
) {
    let (server, remote, sink) = (receiver().start(), receiver().start(), sink().start());
    let mdn_server = receiver().start();
    let folder = tempfile::tempdir().unwrap();
    let guide = root().join("examples/configs").join(name);
    let [inbound, outbound, admin] = [(); 3].map(|()| free_address());
    let mut config = fs::read_to_string(guide.join("as2hook.yaml")).unwrap();
    for (address, own) in [
        ("0.0.0.0:8080", inbound.to_string()),
        ("127.0.0.1:8085", outbound.to_string()),
        ("127.0.0.1:8081", admin.to_string()),
    ] {
        assert!(config.contains(&format!("\"{address}\"")), "{name}: {address}");
        config = config.replace(&format!("\"{address}\""), &format!("\"{own}\""));
    }
    // OpenAS2's port for asynchronous MDNs.
    let routed = config.contains("http://127.0.0.1:10081");
    assert_eq!(routed, name == "openas2");
    config = config.replace("http://127.0.0.1:10081", &mdn_server.url(""));
    let lines = config.lines().map(|line| match line.trim_start().split_once(": \"http") {
        Some(("url", _)) if line.starts_with("  url") => format!("  url: \"{}\"", server.url("")),
        Some(("url", _)) => format!("    url: \"{}\"", remote.url(partner_path)),
        _ => line.to_owned(),
    });
    fs::write(folder.path().join("as2hook.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    fs::copy(guide.join("webhooks.yaml"), folder.path().join("webhooks.yaml")).unwrap();
    let _gateway = Killed(
        Command::new(env!("CARGO_BIN_EXE_as2hook"))
            .args(["run", "-c", "as2hook.yaml"])
            .env("ERP_URL", sink.url("/hooks/as2"))
            .current_dir(folder.path())
            .spawn()
            .unwrap(),
    );
    let ready = || Client::new(admin).get("/readyz").is_ok_and(|reply| reply.status == 200);
    assert!(wait_until(SOON, ready), "{name}");
    let post = |to: SocketAddr, target: &str, (from, for_id)| {
        let message = Message::new(from, for_id)
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .build();
        let host = if target.starts_with("http") { remote.address() } else { to };
        let post = Post::message(target, &message).header("Host", host.to_string());
        Client::new(to).send(&post).unwrap().status
    };
    assert_eq!(post(inbound, path, (partner, station)), 200);
    assert_eq!(server.wait_for(1, SOON).unwrap()[0].target(), path);
    if routed {
        let reply = Client::new(inbound).send(&Post::new("/mdn", b"an MDN")).unwrap();
        assert_eq!(
            (reply.status, mdn_server.wait_for(1, SOON).unwrap()[0].target()),
            (200, "/mdn")
        );
    }
    assert_eq!(post(outbound, &format!("/out/{partner}"), (station, partner)), 200);
    assert_eq!(remote.wait_for(1, SOON).unwrap()[0].target(), partner_path);
    // By the proxy setting: the partner's own URL as the target.
    assert_eq!(post(outbound, &remote.url(partner_path), (station, partner)), 200);
    assert_eq!(remote.wait_for(2, SOON).unwrap()[1].target(), partner_path);
    let reported = |event: &str| {
        let all = sink.requests();
        all.iter().filter(|request| request.header("X-AS2-Event") == Some(event)).count()
    };
    let all = || reported("message.received") == 1 && reported("message.sent") == 2;
    assert!(wait_until(SOON, all), "{name}");
}
