//! What every response below `/console` carries, and which requests are refused.

use as2hook_testing::{Post, Reply};

use super::{ALL, Browser, any_receiver, gateway};

fn assert_guarded(reply: &Reply, what: &str) {
    let policy = reply.header("Content-Security-Policy").unwrap_or_default();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{what}: {policy}"
    );
    for (name, value) in [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{what}");
    }
}

#[test]
fn every_response_carries_the_policy() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let seen = |reply: &Reply, status: u16, what: &str| {
        assert_eq!(reply.status, status, "{what}");
        assert_guarded(reply, what);
    };
    seen(&browser.get("/console"), 308, "without a slash");
    seen(&browser.get("/console/"), 303, "no session");
    seen(&browser.get("/console/signin"), 200, "sign-in");
    seen(&browser.get("/console/none/such"), 404, "no route, no session");
    seen(&browser.get("/console/assets/none.css"), 404, "no asset");
    seen(&browser.post("/console/", &[]), 405, "method");
    seen(&browser.post("/console/signout", &[]), 303, "action without a session");
    seen(&browser.sign_in("guess", ""), 401, "wrong token");
    seen(&browser.post("/console/signin", &[("token", &"x".repeat(70_000))]), 413, "too large");
    seen(&browser.sign_in(ALL, ""), 303, "signed in");
    for page in ["/console/", "/console/exchanges", "/console/webhooks", "/console/config"] {
        seen(&browser.get(page), 200, page);
    }
    seen(&browser.get("/console/none"), 404, "no route");
    seen(&browser.get("/console/exchanges/none"), 404, "no exchange");
    seen(&browser.post("/console/signout", &[("csrf", "wrong")]), 403, "wrong form");
    browser.host = "evil.example";
    seen(&browser.get("/console/"), 403, "other host");
}

#[test]
fn pages_have_no_inline_code_and_their_assets_are_kept_for_ever() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.get("/console/");
    assert_eq!(page.header("Cache-Control"), Some("no-store"));
    let text = page.text().into_owned();
    for inline in [" style=\"", "<style", " onclick=", " onload=", "javascript:", "<script>"] {
        assert!(!text.contains(inline), "{inline}");
    }
    let assets = text.split("/console/assets/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let assets: Vec<_> = assets.map(str::to_owned).collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let reply = browser.get(&format!("/console/assets/{asset}"));
        assert_eq!(reply.status, 200, "{asset}");
        assert_eq!(reply.header("Cache-Control"), Some("public, max-age=31536000, immutable"));
        assert_guarded(&reply, &asset);
    }
}

#[test]
fn host_is_checked_below_the_console_alone() {
    let gateway = gateway(any_receiver(), ", hosts: [as2.internal.example]").start().unwrap();
    let status = |host: &str, path: &str| {
        let get = Post::method("GET", path).header("Host", host);
        gateway.admin().send(&get).unwrap().status
    };
    for host in ["127.0.0.1:8081", "[::1]:8081", "localhost", "as2.internal.example:8081"] {
        assert_eq!(status(host, "/console/signin"), 200, "{host}");
    }
    for host in ["evil.example", "as2.internal.example.evil", "localhost.evil.example", ""] {
        assert_eq!(status(host, "/console/signin"), 403, "{host}");
        assert_eq!(status(host, "/console/assets/none"), 403, "{host}");
        assert_eq!(status(host, "/healthz"), 200, "{host}");
    }
}

#[test]
fn form_of_another_site_is_refused_before_it_is_read() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::new(&gateway);
    let body = format!("token={ALL}");
    let post = |name: &str, value: &str| {
        Post::new("/console/signin", body.as_bytes())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header(name, value)
    };
    for (name, value) in
        [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
    {
        let reply = browser.send(post(name, value));
        assert_eq!(reply.status, 403, "{name}: {value}");
    }
    assert!(browser.cookies.is_empty());
    assert_eq!(browser.send(post("Origin", "http://localhost")).status, 303);
}

#[test]
fn request_that_cannot_be_read_gets_a_page_that_leads_to_one() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let query = browser.get("/console/certificates?after=x");
    assert_eq!(query.status, 400);
    let text =
        browser.send(Post::new("/console/signin", b"token").header("Content-Type", "text/plain"));
    assert_eq!(text.status, 415);
    let form = browser.post("/console/deliveries/retry", &[("csrf", "wrong")]);
    assert_eq!(form.status, 403);
    for (reply, back) in
        [(query, "/console/certificates?after=x"), (text, "/console/"), (form, "/console/")]
    {
        assert_guarded(&reply, back);
        assert!(reply.header("Content-Type").unwrap().starts_with("text/html"), "{back}");
        let back = format!("name=\"back\" value=\"{back}\"");
        assert!(reply.text().contains(&back), "{back}: {}", reply.text());
    }
}
