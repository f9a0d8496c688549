//! Where webhooks of the config API may point.

use std::sync::atomic::{AtomicBool, Ordering};

use as2hook_testing::{gateway::wait_until, sink};
use serde_json::json;

use super::{SOON, any_receiver, api, gateway_with};

#[test]
fn forty_spellings_of_a_private_address_are_refused() {
    let gateway = gateway_with(any_receiver(), "allow_networks: []").start().unwrap();
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.1",
        "0",
        "0.0.0.0",
        "0x0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "10.0.0.1",
        "10.1",
        "0xa000001",
        "012.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.257",
        "3232235521",
        "169.254.169.254",
        "169.254.43518",
        "0251.0376.0251.0376",
        "2852039166",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[::ffff:0:127.0.0.1]",
        "127.0.0.1:80",
        "[::1]:8080",
    ];
    assert!(hosts.len() >= 40);
    for host in hosts {
        let body = json!({"partner_id": 123, "webhook_url": format!("http://{host}/hook")});
        let (status, response) = api(&gateway, "configure", &body);
        assert_eq!(status, 400, "{host}: {response}");
    }
    let set = api(&gateway, "get", &json!({"partner_id": 123})).1;
    assert_eq!(set["data"]["webhook_url"], serde_json::Value::Null);
}

/// `configure` looks no name up, and `test` says the same of a name that does not resolve and of one that
/// resolves to a private address.
#[test]
fn names_of_the_private_network_cannot_be_distinguished() {
    let gateway = gateway_with(any_receiver(), "allow_networks: []").start().unwrap();
    // The machine's own name is in its hosts file or name server, and not public.
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let tested = |host: &str| {
        let url = format!("http://{host}:9/hook");
        let set = json!({"partner_id": 123, "webhook_url": url});
        assert_eq!(api(&gateway, "configure", &set).0, 200, "{host}");
        let (status, response) = api(&gateway, "test", &json!({"partner_id": 123}));
        let log = api(&gateway, "logs", &json!({"partner_id": 123})).1;
        let logged = log["data"][0]["error"].as_str().unwrap().replace(host, "HOST");
        let waited = log["data"][0]["duration_ms"].as_u64().unwrap();
        assert!(waited >= 5000, "{host}: {waited} ms");
        (status, response["msg"].as_str().unwrap().replace(host, "HOST"), logged)
    };
    assert_eq!(tested("no-such-name.invalid"), tested(own.trim()));
}

#[test]
fn a_network_that_is_no_longer_allowed_is_not_connected_to() {
    let hook = sink().start();
    let gateway = super::gateway(any_receiver()).start().unwrap();
    super::configure(&gateway, &hook, "/a");
    assert_eq!(api(&gateway, "test", &json!({"partner_id": 123})).0, 200);
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let strict = config.replace("allow_networks: [\"127.0.0.0/8\"]", "allow_networks: []");
    assert_ne!(config, strict);
    gateway.write("as2hook.yaml", &strict).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    let (status, response) = api(&gateway, "test", &json!({"partner_id": 123}));
    assert_eq!((status, &response["http_code"]), (502, &serde_json::Value::Null));
    assert_eq!(hook.requests().len(), 1);
}

#[test]
fn repeated_bad_tokens_are_slowed_and_good_ones_are_not() {
    let gateway = gateway_with(any_receiver(), "allow_networks: []").start().unwrap();
    let bad = || super::post_as(&gateway, "guess", "/api/v1/webhooks/get", "{}").status;
    let began = std::time::Instant::now();
    for _ in 0..12 {
        assert_eq!(bad(), 401);
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(900));
    // Between two bad ones that are not even read, so many wait: a good one that had to wait with them
    // would not be read either. Once is enough: a process that stands still between them lets the bad ones be
    // forgotten.
    let good_among_bad = || {
        bad() == 429 && api(&gateway, "get", &json!({"partner_id": 123})).0 == 200 && bad() == 429
    };
    let enough = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    bad();
                }
            });
        }
        let served = wait_until(SOON, good_among_bad);
        enough.store(true, Ordering::Relaxed);
        served
    });
    assert!(served);
}
