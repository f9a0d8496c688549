//! Signing in and out, and what ends a session.

use as2hook_testing::{Post, gateway::wait_until};

use super::{ALL, Browser, OTHER, READ, SOON, any_receiver, csrf, gateway, set_cookies};

#[test]
fn page_without_a_session_leads_to_the_sign_in_and_back() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let reply = browser.get("/console/deliveries?status=dead");
    let signin = reply.header("Location").unwrap().to_owned();
    assert_eq!(
        (reply.status, signin.as_str()),
        (303, "/console/signin?next=%2Fconsole%2Fdeliveries%3Fstatus%3Ddead")
    );
    let page = browser.get(&signin);
    assert_eq!(page.status, 200);
    assert!(page.text().contains("name=\"next\" value=\"/console/deliveries?status=dead\""));
    let reply = browser.sign_in(ALL, "/console/deliveries?status=dead");
    assert_eq!(
        (reply.status, reply.header("Location")),
        (303, Some("/console/deliveries?status=dead"))
    );
    for elsewhere in
        ["https://evil.example/", "//evil.example/", "/admin/reload", "/console/\\evil"]
    {
        let reply = browser.sign_in(ALL, elsewhere);
        assert_eq!(reply.header("Location"), Some("/console/"), "{elsewhere}");
    }
}

/// With SameSite=Strict, no cookie comes with it.
#[test]
fn link_of_another_site_leads_on_within_the_console() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let path = "/console/deliveries?status=dead&webhook=%22%3E";
    let get = Post::method("GET", path).header("Sec-Fetch-Site", "cross-site");
    let reply = browser.send(get);
    assert_eq!(reply.status, 200);
    let leads = "content=\"0;url=/console/deliveries?status=dead&amp;webhook=%22%3E\"";
    assert!(reply.text().contains(leads), "{}", reply.text());
}

#[test]
fn session_is_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let [cookie] = set_cookies(&browser.sign_in(ALL, "")).try_into().unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/console"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(ALL), "{cookie}");
    let post = Post::new("/console/signin", b"token=all-of-main")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Forwarded-Proto", "https");
    let [cookie] = set_cookies(&browser.send(post)).try_into().unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[test]
fn wrong_token_is_refused_and_repeated_ones_are_slowed_like_the_apis() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let began = std::time::Instant::now();
    for _ in 0..12 {
        let reply = browser.sign_in("guess", "");
        assert_eq!(reply.status, 401);
        assert!(reply.text().contains("This token is not known here."));
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(900));
    assert!(browser.cookies.is_empty());
    assert!(gateway.wait_for_log("An unknown API token was refused.", super::SOON));
    assert!(!gateway.log().contains("guess"));
    assert_eq!(browser.sign_in(ALL, "").status, 303);
}

#[test]
fn bent_or_foreign_cookie_is_no_session() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    assert_eq!(browser.get("/console/").status, 200);
    let good = browser.cookies[0].1.clone();
    let mut bent = good.clone().into_bytes();
    bent[20] = if bent[20] == b'A' { b'B' } else { b'A' };
    for bad in [String::from_utf8(bent).unwrap(), good[..good.len() - 4].to_owned(), "x".to_owned()]
    {
        browser.cookies = vec![("as2hook_session".to_owned(), bad)];
        assert_eq!(browser.get("/console/").status, 303);
    }
    browser.cookies = vec![("as2hook_session".to_owned(), good)];
    assert_eq!(browser.get("/console/").status, 200);
}

#[test]
fn removed_token_ends_its_session() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let (mut removed, mut kept) = (Browser::of(&gateway, READ), Browser::of(&gateway, ALL));
    assert_eq!(removed.get("/console/").status, 200);
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let digest = super::token(READ, "read", "main");
    let without = config.replace(&format!("{digest}, "), "");
    assert_ne!(config, without);
    gateway.write("as2hook.yaml", &without).unwrap();
    assert!(wait_until(SOON, || removed.get("/console/").status == 303));
    assert_eq!(kept.get("/console/").status, 200);
}

#[test]
fn sign_out_and_colours_take_the_sessions_own_token() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let other = Browser::of(&gateway, ALL).get("/console/").text().into_owned();
    for wrong in ["", "guess", csrf(&other).as_str()] {
        let reply = browser.post("/console/signout", &[("csrf", wrong)]);
        assert_eq!(reply.status, 403, "{wrong}");
    }
    let reply = browser.act("/console/theme", &[("theme", "dark"), ("back", "/console/webhooks")]);
    assert_eq!((reply.status, reply.header("Location")), (303, Some("/console/webhooks")));
    assert!(browser.get("/console/").text().contains("<html lang=\"en\" class=\"dark\">"));
    let reply =
        browser.act("/console/theme", &[("theme", "\"><script>"), ("back", "//evil.example")]);
    assert_eq!((reply.status, reply.header("Location")), (303, Some("/console/")));
    assert!(browser.get("/console/").text().contains("<html lang=\"en\">"));
    assert_eq!(browser.act("/console/signout", &[]).status, 303);
    assert_eq!(browser.get("/console/").status, 303);
}

#[test]
fn token_of_another_site_sees_nothing_of_this_one() {
    let gateway = gateway(any_receiver(), "")
        .rule("orders-of-main", |rule| rule.url("http://127.0.0.1:9/").set("site", "main"))
        .start()
        .unwrap();
    super::send_from(&gateway, "ACME");
    let listed = || gateway.call("GET", "/admin/events", "").unwrap().text().contains("ACME");
    assert!(wait_until(SOON, listed));
    let paths = [
        "/console/",
        "/console/exchanges",
        "/console/deliveries",
        "/console/webhooks",
        "/console/partners",
        "/console/certificates",
        "/console/config",
    ];
    let (mut other, mut own) = (Browser::of(&gateway, OTHER), Browser::of(&gateway, ALL));
    assert!(own.get("/console/").text().contains("orders-of-main"));
    for path in paths {
        let page = other.get(path);
        assert_eq!(page.status, 200, "{path}");
        for theirs in ["ACME", "orders-of-main", "order.edi"] {
            assert!(!page.text().contains(theirs), "{theirs} in {path}");
        }
    }
}
