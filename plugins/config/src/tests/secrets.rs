//! No secret is shown, neither in what was read nor in what is wrong with it.

use super::*;

const SECRET: &str = "hunter2";

#[test]
fn debug_shows_none() {
    let (loaded, files) = right(
        "store: \"postgres://u:${SECRET}@h/d?password=${SECRET}\"\n\
         stations:\n\
         - as2_id: A\n  \
           keys: [{ certificate: keys/rsa.crt, private_key: keys/rsa.key, passphrase: \"${SECRET}\" }]\n\
         listen: { inbound: { tls: { certificate: keys/rsa.crt, private_key: keys/rsa.key } } }\n\
         api: { tokens: [{ name: t, sha256: \
         \"2222222222222222222222222222222222222222222222222222222222222222\", scopes: [read] }] }",
        "webhooks: [{ name: a, url: \"https://a/\", secret: \"${SECRET}\", \
         headers: { Authorization: \"${SECRET}\" }, \
         tls: { client_certificate: keys/rsa.crt, client_key: keys/rsa.key } }]",
    );
    let shown = format!("{loaded:?} {loaded:#?} {}", loaded.config.store);
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains("PRIVATE KEY"));
    // The digest of the token, as a list of numbers or in hex.
    assert!(!shown.contains("34, 34") && !shown.contains("2222"));
    assert!(shown.contains("postgres://h/…"));
    drop(files);
}

#[test]
fn rendered_config_shows_none() {
    let files = Files::new(&[
        (
            "as2hook.yaml",
            "receiver: { url: \"http://127.0.0.1:1\" }\n\
             store: \"postgres://u:hunter2@h/d?password=hunter2\"\n\
             stations:\n\
             - as2_id: A\n  \
               keys: [{ certificate: keys/rsa.crt, private_key: keys/rsa.key, passphrase: hunter2 }]\n\
             partners: [{ as2_id: P, url: \"https://p/?token=hunter2\" }]\n\
             api: { tokens: [{ name: t, sha256: \
             \"2222222222222222222222222222222222222222222222222222222222222222\", scopes: [read] }] }",
        ),
        (
            "webhooks.yaml",
            "webhooks: [{ name: a, url: \"https://a/?key=hunter2\", secret: hunter2, \
             headers: { Authorization: hunter2 } }, \
             { name: b, partner: b, url: \"https://a/\", secret_file: the.secret }]",
        ),
        ("the.secret", SECRET),
    ]);
    let shown = render(&files.folder.path().join("as2hook.yaml"), &Plugins::default()).unwrap();
    assert!(!shown.contains(SECRET) && !shown.contains("2222"), "{shown}");
    assert!(shown.contains("authorization: '***'") && shown.contains("the.secret"), "{shown}");
}

/// Each secret stands in a place where something is wrong with it.
#[test]
fn mistakes_show_none() {
    let gateway = format!(
        "receiver: {{ url: \"http://u:{SECRET}@h\" }}\n\
         store: \"mysql://u:{SECRET}@h\"\n\
         payloads: \"gs://{SECRET}\"\n\
         stations:\n\
         - as2_id: A\n  \
           keys:\n  \
           - {{ pkcs12: keys/legacy.p12, passphrase: {SECRET} }}\n  \
           - {{ certificate: keys/rsa.crt, private_key: keys/rsa-encrypted.key, passphrase: {SECRET} }}\n  \
           - {{ certificate: keys/rsa.crt, private_key: keys/rsa.key, passphrase: [{SECRET}] }}\n\
         partners: [{{ as2_id: P, url: \"https://h/#{SECRET}\" }}]\n\
         api: {{ tokens: [{{ name: a, sha256: {SECRET}, scopes: [{SECRET}] }}] }}\n\
         mdn_deadline: \"${{SECRET}}\"\n\
         drain: \"${{SECRET:-{SECRET}\"\n"
    );
    let rules = format!(
        "webhooks:\n\
         - {{ name: a, url: \"ftp://{SECRET}\", secret: \"whsec_${{SECRET}}!\", payload: \"${{SECRET}}\" }}\n\
         - {{ name: b, url: \"{SECRET}\", headers: {{ Authorization: \"${{SECRET}}\\n\" }} }}\n\
         - {{ name: c, url: \"http://h/\", secret_file: the.secret, timeout: {SECRET} }}\n"
    );
    let files = Files::new(&[
        ("as2hook.yaml", &gateway),
        ("webhooks.yaml", &rules),
        ("the.secret", &format!("whsec_{SECRET}!")),
    ]);
    let mistakes = files.attempt().outcome.unwrap_err();
    let shown = format!("{} {mistakes:?}", files.shown(&mistakes).join("\n"));
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(mistakes.len() >= 17, "each of them is wrong: {shown}");
}
