//! `as2hook init --from-openas2`, with configs of our own in the form of OpenAS2's.

use std::{fs, path::Path};

use as2hook_testing::{Client, Message, Part, Post, Ran, pki::Identity, receiver, sink};
use openssl::{pkey::PKey, x509::X509};

use super::{SOON, Started, check_strictly, delivered, init};

/// Four private keys: `for a in mycompany mycompany-old acme globex; do keytool -genkeypair -alias $a -keyalg RSA
/// -keysize 2048 -validity 36500 -dname CN=$a -storetype PKCS12 -keystore as2_certs.p12 -storepass changeit; done`
const KEYSTORE: &[u8] = include_bytes!("as2_certs.p12");

const CONFIG: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<openas2>
  <properties store.password="$properties.secret$" secret="changeit" as2.port="10080"
    as2_async_mdn_url="http://our.example:10081" as2_mdn_response_max_wait_seconds="4560" rest.on="false"/>
  <certificates classname="org.openas2.cert.PKCS12CertificateFactory" filename="%home%/as2_certs.p12"
    password="$properties.store.password$"/>
  <partnerships classname="org.openas2.partner.XMLPartnershipFactory" filename="%home%/partnerships.xml"/>
  <commandProcessors>
    <commandProcessor classname="org.openas2.cmd.processor.RestCommandProcessor" enabled="$properties.rest.on$"
      baseuri="http://localhost:8080"/>
  </commandProcessors>
  <processor classname="org.openas2.processor.DefaultProcessor">
    <module classname="org.openas2.processor.sender.AS2SenderModule" readtimeout="600000"/>
    <module classname="org.openas2.processor.receiver.AS2ReceiverModule" port="$properties.as2.port$"/>
    <module classname="org.openas2.processor.receiver.AS2MDNReceiverModule" port="10081"/>
    <module enabled="false" classname="org.openas2.processor.receiver.AS2ReceiverModule" port="1" protocol="https"/>
    <module classname="org.openas2.processor.receiver.HealthCheckModule" port="10099"/>
  </processor>
</openas2>
"#;

/// Us and two partners with keys, each in both directions.
const PARTNERS: &str = r#"
  <partner name="MyCompany" as2_id="MyCompany_OID" x509_alias="MyCompany" x509_alias_fallback="mycompany-old"/>
  <partner name="Acme" as2_id="Acme OID" x509_alias="acme"/>
  <partner name="Globex" as2_id="GLOBEX" x509_alias="globex"/>
"#;

fn sends(name: &str, from: &str, to: &str, url: &str) -> String {
    format!(
        "<partnership name=\"{name}\"><sender name=\"{from}\"/><receiver name=\"{to}\"/>\
         <attribute name=\"as2_url\" value=\"{url}\"/><attribute name=\"sign\" value=\"SHA256\"/>\
         <attribute name=\"resend_max_retries\" value=\"3\"/></partnership>\n"
    )
}

fn receives(name: &str, from: &str, to: &str) -> String {
    format!(
        "<partnership name=\"{name}\"><sender name=\"{from}\"/><receiver name=\"{to}\"/></partnership>\n"
    )
}

fn two_partners() -> String {
    [
        PARTNERS,
        &sends("to-acme", "MyCompany", "Acme", "http://acme.example/as2"),
        &receives("from-acme", "Acme", "MyCompany"),
        &sends("to-globex", "MyCompany", "Globex", "https://globex.example/as2"),
        &receives("from-globex", "Globex", "MyCompany"),
    ]
    .concat()
}

/// Runs `init` on such an OpenAS2, into `conf` of the folder.
fn take_over(folder: &Path, config: &str, partnerships: &str, more: &[&str]) -> Ran {
    let home = folder.join("config");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.xml"), config).unwrap();
    let partnerships = format!("<partnerships>{partnerships}</partnerships>");
    fs::write(home.join("partnerships.xml"), partnerships).unwrap();
    fs::write(home.join("as2_certs.p12"), KEYSTORE).unwrap();
    let xml = home.join("config.xml");
    let words = [&["--from-openas2", xml.to_str().unwrap()], more].concat();
    init(&folder.join("conf"), &words)
}

fn text(folder: &Path) -> String {
    fs::read_to_string(folder.join("conf/as2hook.yaml")).unwrap()
}

fn identity(pem: &[u8]) -> Identity {
    Identity {
        name: "of the keystore",
        certificate: X509::from_pem(pem).unwrap(),
        key: PKey::private_key_from_pem(pem).unwrap(),
    }
}

#[test]
fn config_of_openas2_passes_the_strict_check_and_messages_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let ran = take_over(folder.path(), CONFIG, &two_partners(), &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let conf = folder.path().join("conf");
    let checked = check_strictly(&conf);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    assert!(!text(folder.path()).contains("TODO"), "{}", text(folder.path()));
    for line in [
        "- partnerships.xml, partnership \"to-acme\": as2_url is http://127.0.0.1:8085/out/Acme%20OID",
        "- partnerships.xml, partnership \"to-globex\": as2_url is http://127.0.0.1:8085/out/GLOBEX",
        "- the property as2_async_mdn_url is http://<this host>:8080/mdn",
        "- config.xml, the modules of port 10080, 10081: address=\"127.0.0.1\"",
    ] {
        assert!(ran.stdout.contains(line), "{line} is not in\n{}", ran.stdout);
    }

    let (server, mdns, remote, sink) =
        (receiver().start(), receiver().start(), receiver().start(), sink().start());
    let pairs = [
        ("url: \"http://127.0.0.1:10080\"", format!("url: \"{}\"", server.url(""))),
        ("url: \"http://127.0.0.1:10081\"", format!("url: \"{}\"", mdns.url(""))),
        ("url: \"http://acme.example/as2\"", format!("url: \"{}\"", remote.url("/as2"))),
    ];
    let pairs = pairs.each_ref().map(|(old, new)| (*old, new.as_str()));
    let gateway = Started::run(&conf, &sink.url("/"), &pairs);
    let station = |file: &str| identity(&fs::read(conf.join("keys").join(file)).unwrap());
    let message = |from: &str, to: &str, key: &Identity| {
        Message::new(from, to)
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .encrypt(key)
            .build()
    };
    // With the key in force, and with the one before.
    for file in ["mycompany.pem", "mycompany-old.pem"] {
        let message = message("Acme OID", "MyCompany_OID", &station(file));
        let reply = Client::new(gateway.inbound).send(&Post::message("/", &message)).unwrap();
        assert_eq!(reply.status, 200);
    }
    for webhook in delivered(&sink, "message.received", 2) {
        assert_eq!(webhook.json()["attachments"][0]["name"], "order.edi", "{}", webhook.text());
    }
    let reply = Client::new(gateway.inbound).send(&Post::new("/mdn", b"an MDN")).unwrap();
    assert_eq!((reply.status, mdns.wait_for(1, SOON).unwrap().len()), (200, 1));
    let own = message("MyCompany_OID", "Acme OID", &station("mycompany.pem"));
    let post = Post::message("/out/Acme%20OID", &own);
    assert_eq!(Client::new(gateway.outbound).send(&post).unwrap().status, 200);
    assert_eq!(remote.wait_for(1, SOON).unwrap()[0].target(), "/as2");
    delivered(&sink, "message.sent", 1);
}

#[test]
fn keys_are_taken_by_alias_and_partners_give_certificates_alone() {
    let folder = tempfile::tempdir().unwrap();
    take_over(folder.path(), CONFIG, &two_partners(), &[]);
    let keys = folder.path().join("conf/keys");
    let mut names: Vec<_> = fs::read_dir(&keys)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["acme.crt", "globex.crt", "mycompany-old.pem", "mycompany.pem"]);
    for name in ["acme.crt", "globex.crt"] {
        let pem = fs::read_to_string(keys.join(name)).unwrap();
        assert!(!pem.contains("PRIVATE"), "{name}");
    }
    let yaml = text(folder.path());
    for part in [
        "keys:\n      - { certificate: keys/mycompany.pem, private_key: keys/mycompany.pem }\n      - { certificate: keys/mycompany-old.pem",
        "- as2_id: \"Acme OID\"\n    id: 1\n    certificates: [keys/acme.crt]",
        "mdn_deadline: 4560s\n",
        "timeout: 600s\n",
        "routes: [{ path: /mdn, url: \"http://127.0.0.1:10081\" }]",
    ] {
        assert!(yaml.contains(part), "{part} is not in\n{yaml}");
    }
    assert!(!yaml.contains("changeit"), "{yaml}");
}

#[test]
fn twenty_partnerships_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut partnerships = PARTNERS.to_owned();
    for n in 1..=20 {
        let (name, id, url) =
            (format!("P{n}"), format!("PARTNER-{n:02}"), format!("http://p{n}.example/as2"));
        partnerships +=
            &format!("<partner name=\"{name}\" as2_id=\"{id}\" x509_alias=\"acme\"/>\n");
        partnerships += &sends(&format!("to-{name}"), "MyCompany", &name, &url);
    }
    let ran = take_over(folder.path(), CONFIG, &partnerships, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let checked = check_strictly(&folder.path().join("conf"));
    assert!(checked.stdout.contains("1 station, 20 partners, 1 webhook"), "{checked:?}");
    let yaml = text(folder.path());
    assert!(
        yaml.contains("the partner \"Acme\" stands in no partnership: it is not taken over."),
        "{yaml}"
    );
    assert_eq!(yaml.matches("certificates: [keys/acme.crt]").count(), 20, "{yaml}");
}

#[test]
fn doubt_about_our_own_ids_is_an_error_that_says_what_to_pass() {
    let folder = tempfile::tempdir().unwrap();
    let both = two_partners() + &sends("reply", "Acme", "MyCompany", "http://our.example/");
    let ran = take_over(folder.path(), CONFIG, &both, &[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("pass --station for each of them. Likely: Acme OID, MyCompany_OID"),
        "{ran:?}"
    );
    assert!(!folder.path().join("conf").exists());
    let ran = take_over(folder.path(), CONFIG, &both, &["--station", "MyCompany_OID"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn properties_file_wins_over_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let properties = folder.path().join("openas2.properties");
    fs::write(&properties, "as2.port = 20080\nrest.on=true\n").unwrap();
    let file = properties.to_str().unwrap();
    let ran = take_over(folder.path(), CONFIG, &two_partners(), &["--properties", file]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let yaml = text(folder.path());
    assert!(yaml.contains("url: \"http://127.0.0.1:20080\""), "{yaml}");
    // OpenAS2's REST API is on and has port 8080.
    assert!(yaml.contains("address: \"0.0.0.0:8180\""), "{yaml}");
}

#[test]
fn what_cannot_be_taken_over_is_a_todo_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = CONFIG
        .replace("secret=\"changeit\"", "secret=\"other\"")
        .replace("as2.port=\"10080\"", "")
        .replace("<processor ", "<certificates classname=\"X\" identifier=\"ssl_trust_certs\" filename=\"ssl.jks\"/><processor ");
    let ran = take_over(
        folder.path(),
        &config,
        &(two_partners() + &receives("stray", "Acme", "Globex")),
        &["--station", "MyCompany_OID"],
    );
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let yaml = text(folder.path()).replace("\n#     ", " ");
    for todo in [
        "as2_certs.p12 does not open with this passphrase: keys and certificates are left out.",
        "$properties.as2.port$ is defined nowhere",
        "config/ssl.jks for https",
        "the partnership \"stray\" has no station on either side: it is not taken over.",
        "config.xml has no AS2ReceiverModule with a port",
        "TODO: its keys, such as",
    ] {
        assert!(yaml.contains(todo), "{todo} is not in\n{yaml}");
    }
    assert!(check_strictly(&folder.path().join("conf")).status == Some(0));
}

#[test]
fn certificates_of_https_are_taken_over_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let https = "<module classname=\"a.AS2ReceiverModule\" port=\"10443\" protocol=\"https\" \
                 ssl_keystore=\"%home%/as2_certs.p12\" ssl_keystore_password=\"changeit\"/></processor>";
    let config = CONFIG.replace("</processor>", https);
    let client = "https://globex.example/as2\"/><attribute name=\"https_client_keystore\" \
                  value=\"%home%/as2_certs.p12\"/><attribute name=\"https_client_keystore_password\" \
                  value=\"changeit\"/><attribute name=\"https_client_cert_alias\" value=\"GLOBEX";
    let partnerships = two_partners().replace("https://globex.example/as2", client);
    let ran = take_over(folder.path(), &config, &partnerships, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let yaml = text(folder.path());
    let file = "keys/client-as2_certs-globex.pem";
    assert!(
        yaml.contains(&format!("tls: {{ client_certificate: {file}, client_key: {file} }}")),
        "{yaml}"
    );
    assert!(
        yaml.contains(
            "# tls: { certificate: keys/tls-10443.pem, private_key: keys/tls-10443.pem }"
        ),
        "{yaml}"
    );
    assert!(yaml.contains("OpenAS2 listens on https://127.0.0.1:10443 too."), "{yaml}");
    for name in [file, "keys/tls-10443.pem"] {
        identity(&fs::read(folder.path().join("conf").join(name)).unwrap());
    }
    let config = folder.path().join("conf/as2hook.yaml");
    fs::write(&config, yaml.replace("    # tls: {", "    tls: {")).unwrap();
    assert_eq!(check_strictly(&folder.path().join("conf")).stderr, "");
}

#[test]
fn keystore_password_that_no_file_has_is_passed_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("password=\"$properties.store.password$\"", "");
    let ran = take_over(folder.path(), &config, &two_partners(), &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let yaml = text(folder.path()).replace("\n#     ", " ");
    assert!(yaml.contains("run `as2hook init` again with --keystore-password-file."), "{yaml}");
    assert!(!folder.path().join("conf/keys").exists());
    fs::remove_dir_all(folder.path().join("conf")).unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "changeit\n").unwrap();
    let words = ["--keystore-password-file", file.to_str().unwrap()];
    let ran = take_over(folder.path(), &config, &two_partners(), &words);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(text(folder.path()).contains("keys/mycompany.pem"), "{}", text(folder.path()));
}

#[test]
fn partnerships_in_a_database_are_a_todo() {
    let folder = tempfile::tempdir().unwrap();
    let config = CONFIG.replace(
        "org.openas2.partner.XMLPartnershipFactory",
        "org.openas2.partner.DbPartnershipFactory",
    );
    let ran = take_over(folder.path(), &config, "", &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let yaml = text(folder.path()).replace("\n#     ", " ");
    assert!(
        yaml.contains("OpenAS2 has its partnerships in a database, which is not read"),
        "{yaml}"
    );
    assert!(yaml.contains("stations: []\n") && yaml.contains("partners: []\n"), "{yaml}");
}

#[test]
fn text_of_openas2_does_not_become_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "x&#10;site: evil&#10;\"}${HOME}";
    let partnerships = two_partners()
        .replace("GLOBEX", hostile.replace('"', "&quot;").as_str())
        .replace("to-globex", "p&#10;site: evil");
    let ran = take_over(folder.path(), CONFIG, &partnerships, &[]);
    let config = folder.path().join("conf/as2hook.yaml");
    let shown = as2hook_testing::as2hook(&["config", "-c", config.to_str().unwrap()]);
    assert!(!text(folder.path()).contains("\nsite: evil"), "{}", text(folder.path()));
    assert!(
        !ran.stdout.contains("\nsite: evil") && !shown.stdout.contains("site: evil\n"),
        "{ran:?}"
    );
}

#[test]
fn files_that_are_not_openas2s_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ran = take_over(
        folder.path(),
        "<!DOCTYPE openas2 [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><openas2 a='&x;'/>",
        "",
        &[],
    );
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("config.xml:1: the attribute a: "), "{ran:?}");
    assert!(!ran.stderr.contains("root:"), "{ran:?}");
    let ran = init(&folder.path().join("conf"), &["--from-openas2", "/nowhere/config.xml"]);
    assert!(ran.stderr.contains("/nowhere/config.xml cannot be read"), "{ran:?}");
}
