//! What partners and endpoints write is text, whatever it says.

use as2hook_testing::{
    Digest, Mdn, Message, Part, Post, Receipt, Response, Running, gateway::wait_until, receiver,
    sink,
};

use super::{
    super::{ALL, SOON, gateway, list},
    Window,
};

/// Each leaves another context: text, a value, a script, a style, a link, a text that runs the other way.
const TEXTS: [&str; 7] = [
    "<img src=x onerror=window.__xss=1>",
    "\"'><svg onload=window.__xss=1>",
    "</title></textarea></select></template><script>window.__xss=1</script>",
    "x\" autofocus onfocus=\"window.__xss=1\" tabindex=\"0",
    "javascript:window.__xss=1//${window.__xss=1}{{constructor.constructor('window.__xss=1')()}}",
    "&lt;img src=x onerror=window.__xss=1&gt; &#60;svg onload=window.__xss=1&#62;",
    "\u{202e}gnp.exe\u{202c}\u{2066}\u{200f}<b onmouseover=window.__xss=1>\u{feff}</b>",
];

/// What a page consists of beside what partners wrote.
const FOREIGN: &str = "
    for (const all of document.querySelectorAll('details')) all.open = true;
    const foreign = document.querySelectorAll(
        'img, iframe, object, embed, base, textarea, template, math, audio, video, meta[http-equiv], ' +
        'head ~ script, body script, style, [autofocus]:not(#token), a[href^=\"javascript:\" i]');
    const named = [...document.querySelectorAll('*')]
        .flatMap((it) => [...it.attributes])
        .filter((it) => it.name.startsWith('on') || it.name == 'style');
    return [...[...foreign].map((it) => it.outerHTML), ...named.map((it) => it.name),
        ...(typeof window.__xss == 'undefined' ? [] : ['a script ran'])]";

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn text_of_a_partner_never_runs() {
    let long = format!("{}{}", "A".repeat(10_000), TEXTS[0]);
    let texts: Vec<&str> = TEXTS.into_iter().chain([long.as_str()]).collect();
    let server = receiver().start();
    let hook = sink().start();
    let gateway = gateway(&server, "")
        .rule("all", |rule| rule.to(&hook, "/").events(&["*"]).set("retry", "[1h]"))
        .start()
        .unwrap();
    let window = Window::of(&gateway, ALL);
    for (number, text) in texts.iter().enumerate() {
        let disposition =
            format!("automatic-action/MDN-sent-automatically; processed/error: {text}");
        let mdn = Mdn::new(&disposition, text).mic(text).id(&format!("<{text}@here>"));
        server.respond(Response::mdn(mdn));
        hook.respond(Response::status(503).header("Content-Type", "text/html").body(*text));
        send(&gateway, text);
        // The first ones come by the stream, to a page that is open.
        let events = list(&gateway, "/admin/events?limit=500").len();
        assert!(events > number, "{events}");
        assert_harmless(&window, text);
    }
    let rows = || list(&gateway, "/admin/deliveries?status=pending&limit=500");
    assert!(wait_until(SOON, || rows().iter().filter(|row| row["attempts"] != 0).count()
        >= 2 * texts.len()));
    window
        .chromium
        .wait_for("document.querySelectorAll('table[data-live=exchanges] tbody tr').length == 12");
    let mut pages: Vec<_> = list(&gateway, "/admin/events?limit=500")
        .iter()
        .map(|event| format!("/console/exchanges/{}", event["id"].as_str().unwrap()))
        .collect();
    pages.extend(super::stage::PAGES.map(str::to_owned));
    pages
        .extend(["/console/webhooks/all".to_owned(), "/console/deliveries?webhook=all".to_owned()]);
    for text in TEXTS {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for search in [
            "exchanges?q=",
            "exchanges?partner=",
            "deliveries?q=",
            "webhooks?te=message.received&tp=",
        ] {
            pages.push(format!("/console/{search}{escaped}"));
        }
        pages.push(format!("/console/partners/{escaped}"));
    }
    let (mut shown, mut wide) = (0, Vec::new());
    for page in &pages {
        window.open(page);
        assert_harmless(&window, page);
        shown += usize::from(window.text().contains("__xss=1"));
        for width in [360, 1280] {
            window.chromium.show(width, 900, "light");
            wide.extend(
                Some(window.overflow())
                    .filter(|it| !it.is_null())
                    .map(|it| format!("{page} at {width} px: {it}")),
            );
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
    assert!(shown > pages.len() / 2, "it is shown as text: {shown} of {}", pages.len());
}

fn assert_harmless(window: &Window, page: &str) {
    assert_eq!(window.chromium.script(FOREIGN), serde_json::json!([]), "{page}");
    window.assert_clean(page);
}

/// Sends a message that has this text wherever a partner may write one.
fn send(gateway: &Running, text: &str) {
    // Two of ten thousand characters, and what else there is, stay within the limit of a head.
    let short: String =
        text.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
    let mut message = Message::new(&short, "MY-OWN-ORG")
        .id(&format!("<{short}@there>"))
        .subject(text)
        .attach(Part::text(text, &short, "UNA"))
        .receipt(Receipt::SignedSync(Digest::Sha256));
    for name in [
        "User-Agent",
        "From",
        "Ediint-Features",
        "Recipient-Address",
        "X-Forwarded-For",
        "X-Anything",
        "Content-Description",
        "Referer",
    ] {
        message = message.header(name, &short);
    }
    gateway.inbound().send(&Post::message("/as2", &message.build())).unwrap();
}
