use ipnet::IpNet;

use super::Guard;

fn public() -> Guard {
    Guard::public([])
}

fn allowing(networks: &[&str]) -> Guard {
    Guard::public(networks.iter().map(|n| n.parse::<IpNet>().unwrap()))
}

fn admits(guard: &Guard, address: &str) -> bool {
    guard.admits(address.parse().unwrap())
}

#[test]
fn open_admits_everything() {
    for address in ["127.0.0.1", "10.1.2.3", "::1", "169.254.169.254", "8.8.8.8"] {
        assert!(admits(&Guard::Open, address), "{address}");
    }
}

#[test]
fn public_admits_public_addresses() {
    let addresses = [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ];
    for address in addresses {
        assert!(admits(&public(), address), "{address}");
    }
}

#[test]
fn public_refuses_every_special_network() {
    let addresses = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.0",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "100::1",
        "64:ff9b:1::808:808",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:10::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for address in addresses {
        assert!(!admits(&public(), address), "{address}");
    }
}

#[test]
fn a_wrapped_address_is_judged_by_what_it_carries() {
    let wrapped = [
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.1",
        "::10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "2002:c0a8:101::",
    ];
    for address in wrapped {
        assert!(!admits(&public(), address), "{address}");
    }
}

#[test]
fn named_networks_are_admitted_and_no_others() {
    let guard = allowing(&["10.20.0.0/16", "127.0.0.1/32", "fd12:3456::/32"]);
    for address in ["10.20.0.1", "10.20.255.255", "127.0.0.1", "fd12:3456::9", "::ffff:10.20.1.1"] {
        assert!(admits(&guard, address), "{address}");
    }
    for address in ["10.21.0.0", "10.19.255.255", "127.0.0.2", "fd12:3457::1", "192.168.0.1"] {
        assert!(!admits(&guard, address), "{address}");
    }
    assert!(admits(&guard, "8.8.8.8"));
}

#[test]
fn urls_with_a_refused_literal_cannot_be_configured() {
    let urls = [
        "http://127.0.0.1/",
        "http://[::1]:8080/",
        "https://10.0.0.1/x",
        "http://localhost/",
        "http://LOCALHOST.:80/",
        "http://api.localhost/",
        "http://[::ffff:127.0.0.1]/",
    ];
    for url in urls {
        assert!(!public().admits_url(&url.parse().unwrap()), "{url}");
        assert!(Guard::Open.admits_url(&url.parse().unwrap()), "{url}");
    }
    for url in ["https://erp.example/hook", "http://8.8.8.8/", "http://localhost.example/"] {
        assert!(public().admits_url(&url.parse().unwrap()), "{url}");
    }
    assert!(allowing(&["127.0.0.0/8"]).admits_url(&"http://localhost/".parse().unwrap()));
}

#[test]
fn older_spellings_of_private_addresses_are_known() {
    let guard = Guard::public([]);
    for host in [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0x0.0x0.0x1",
        "10.1",
        "0",
        "0x",
        "192.168.257",
        "3232235777",
        "169.254.43518",
        "0251.0376.0251.0376",
        "127.1.",
    ] {
        let url = format!("http://{host}/").parse().unwrap();
        assert!(!guard.admits_url(&url), "{host}");
    }
    for host in ["134744072", "8.8.2056", "example.com", "0x7f.example.com", "1.2.3.4.5", "256.256"]
    {
        let url = format!("http://{host}/").parse().unwrap();
        assert!(guard.admits_url(&url), "{host}");
    }
}
