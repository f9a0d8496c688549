//! The commands of an installation: the health check, manual pages, completions.

use std::{fs, process::Command};

use as2hook_testing::{
    Gateway, Response, as2hook,
    gateway::{built_binary, free_address},
    pki, receiver, sink,
};

/// The exit status of a health check of this URL, and its stderr. The authority of the tests is trusted.
fn check(url: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    pki::authority().write(folder.path()).unwrap();
    let authority = folder.path().join(format!("{}.crt", pki::authority().name));
    let mut command = Command::new(built_binary());
    command.args(["healthcheck", "--timeout", "20", "--url", url]).env("SSL_CERT_FILE", authority);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn health_of_the_configured_gateway_is_asked() {
    let receiver = receiver().start();
    let mut gateway = Gateway::new().receiver(&receiver).start().unwrap();
    let config = gateway.config_file().display().to_string();
    let ready = as2hook(&["healthcheck", "-c", &config]);
    assert_eq!((ready.status, ready.stderr.as_str()), (Some(0), ""), "{ready:?}");
    assert!(ready.stdout.starts_with("ready"), "{ready:?}");
    gateway.kill9();
    let gone = as2hook(&["healthcheck", "-c", &config]);
    assert_eq!(gone.status, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("/readyz cannot be asked: Connection refused"), "{gone:?}");
    gateway.write("as2hook.yaml", "receiver: none\n").unwrap();
    let mistaken = as2hook(&["healthcheck", "-c", &config]);
    assert_eq!(mistaken.status, Some(1));
    assert!(mistaken.stderr.contains("as2hook.yaml:1:"), "{mistaken:?}");
}

#[test]
fn gateway_that_is_not_ready_fails_the_health_check_with_its_reasons() {
    let gateway =
        sink().respond(Response::status(503).body("The store fails.\u{1b}[31m\n")).start();
    let (status, stderr) = check(&gateway.url("/readyz"));
    assert_eq!(status, Some(1));
    assert!(
        stderr.ends_with("the gateway is not ready: The store fails.\\u{1b}[31m\n"),
        "{stderr}"
    );
    gateway.respond(Response::silence());
    let url = gateway.url("/readyz");
    let silent = as2hook(&["healthcheck", "--timeout", "1", "--url", &url]);
    assert_eq!(silent.status, Some(1));
    assert!(silent.stderr.contains("did not respond within 1 s"), "{silent:?}");
}

#[test]
fn health_is_asked_over_tls_of_a_trusted_certificate_alone() {
    let gateway = sink().tls(pki::server()).start();
    let url = gateway.url("/readyz");
    assert_eq!(check(&url), (Some(0), String::new()));
    let untrusted = as2hook(&["healthcheck", "--url", &url]);
    assert_eq!(untrusted.status, Some(1), "{untrusted:?}");
    assert!(untrusted.stderr.contains("certificate verify failed"), "{untrusted:?}");
    for wrong in ["ftp://127.0.0.1/", "/readyz", &format!("{}", free_address())] {
        assert_eq!(as2hook(&["healthcheck", "--url", wrong]).status, Some(2), "{wrong}");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let main = as2hook(&["man"]);
    assert_eq!(main.status, Some(0));
    assert!(main.stdout.contains(".TH as2hook 1") && main.stdout.contains("as2hook\\-upgrade(1)"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    assert_eq!(as2hook(&["man", pages.to_str().unwrap()]).status, Some(0));
    let mut names: Vec<_> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 20 && names.contains(&"as2hook-healthcheck.1".to_owned()), "{names:?}");
    assert_eq!(names[0], "as2hook-backup.1");
    // What is not for people has no place there.
    assert!(!fs::read_to_string(pages.join("as2hook-run.1")).unwrap().contains("replace"));
    let failed = as2hook(&["man", "/proc/none"]);
    assert_eq!(failed.status, Some(1));
    assert!(failed.stderr.contains("/proc/none cannot be written"), "{failed:?}");
}

#[test]
fn each_shell_has_completions() {
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef as2hook"), ("fish", "complete -c as2hook")]
    {
        let script = as2hook(&["completions", shell]);
        assert_eq!(script.status, Some(0));
        assert!(script.stdout.contains(word) && script.stdout.contains("healthcheck"), "{shell}");
    }
    assert_eq!(as2hook(&["completions", "cmd"]).status, Some(2));
}
