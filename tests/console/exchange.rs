//! One exchange as a time line, and what can be done about its deliveries.

use as2hook_testing::{Digest, Mdn, Message, Part, Post, Receipt, Response, pki, receiver, sink};

use super::{
    ALL, Browser, OTHER, READ, any_receiver, attempted, gateway, last_action, list, send_from,
};

#[test]
fn exchange_says_what_became_of_it_and_which_webhook_lacks_it() {
    let (archive, erp) = (sink().start(), sink().respond(Response::status(503)).start());
    let gateway = gateway(any_receiver(), "")
        .rule("archive", |rule| rule.to(&archive, "/").always())
        .rule("erp-orders", |rule| {
            rule.to(&erp, "/hook?token=hush").payload("raw").set("retry", "[1h]")
        })
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "pending", 1).remove(0);
    attempted(&gateway, "delivered", 1);
    let path = format!("/console/exchanges/{}", delivery["event"]["id"].as_str().unwrap());
    let page = Browser::of(&gateway, ALL).page(&path);
    for text in [
        ">The message arrived safely. erp-orders does not have it yet.</h1>",
        "Received from ACME",
        "Not encrypted",
        "Not signed",
        "Handed to your AS2 server",
        "Delivered to 1 of 2 webhooks",
        "Why erp-orders does not have it",
        "You need not press anything",
        "Retry this delivery now",
        "Cancel this delivery",
        "Send a test to erp-orders",
        "order.edi",
        "AS2-From: ACME",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("hush"));
    // The one delivery is a block of this page, and its own path leads there.
    let one = format!("/console/deliveries/{}", delivery["id"]);
    let to = Browser::of(&gateway, ALL).get(&one);
    assert_eq!(to.header("Location"), Some(format!("{path}#d{}", delivery["id"]).as_str()));
    let bytes = Browser::of(&gateway, READ).get(&format!("{path}/attachments/1"));
    assert_eq!((bytes.status, bytes.text().as_ref()), (200, "UNA:+.? '"));
    assert_eq!(bytes.header("X-Content-Type-Options"), Some("nosniff"));
    for other in
        [path.as_str(), one.as_str(), &format!("{path}/attachments/1"), &format!("{path}/mdn")]
    {
        assert_eq!(Browser::of(&gateway, OTHER).get(other).status, 404, "{other}");
    }
    assert_eq!(Browser::of(&gateway, ALL).get("/console/exchanges/none").status, 404);
}

#[test]
fn delivery_is_retried_cancelled_and_replayed_by_one_click_each() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[1h, 1h, 1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "pending", 1).remove(0);
    let event = format!("/console/exchanges/{}", delivery["event"]["id"].as_str().unwrap());
    let act = |change: &str| format!("/console/deliveries/{}/{change}", delivery["id"]);
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.follow(&act("cancel"), &[("back", &event)]);
    assert!(page.contains("1 delivery is cancelled.") && page.contains("Cancelled"), "{page}");
    assert_eq!(last_action(&gateway), [ALL, "cancel", "1 cancelled"]);
    // What is over is refused, in the API's words.
    let page = browser.follow(&act("retry"), &[("back", &event)]);
    assert!(page.contains("note bad") && page.contains("The delivery is over"), "{page}");
    hook.script(|_| Response::ok());
    let page = browser.follow(&act("replay"), &[("back", &event)]);
    assert!(page.contains("1 delivery is made again."), "{page}");
    assert_eq!(last_action(&gateway), [ALL, "replay", "1 replayed"]);
    attempted(&gateway, "delivered", 1);
    assert!(browser.page(&event).contains("The message arrived safely. orders has it."));
    assert_eq!(browser.act("/console/deliveries/999/retry", &[]).status, 404);
    assert_eq!(browser.act(&act("evil"), &[]).status, 404);
    assert_eq!(Browser::of(&gateway, OTHER).act(&act("replay"), &[]).status, 404);
}

#[test]
fn read_only_token_sees_a_sentence_in_place_of_each_form() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "pending", 1).remove(0);
    let mut browser = Browser::of(&gateway, READ);
    let event = format!("/console/exchanges/{}", delivery["event"]["id"].as_str().unwrap());
    for path in [
        event.as_str(),
        "/console/exchanges",
        "/console/deliveries",
        "/console/deliveries?webhook=orders",
        "/console/webhooks",
        "/console/webhooks/orders",
        "/console/partners",
        "/console/partners/ACME",
        "/console/certificates",
        "/console/config",
        "/console/config/actions",
    ] {
        let page = browser.page(path);
        // Signing out and the colours are the only ones.
        let forms: Vec<_> =
            page.split("<form").skip(1).filter(|form| form.contains("method=\"post\"")).collect();
        let own =
            |form: &&str| form.contains("/console/signout") || form.contains("/console/theme");
        let other =
            forms.iter().filter(|form| !own(&form.split("</form>").next().unwrap())).count();
        assert_eq!(other, 0, "{path}: {page}");
    }
    assert!(browser.page(&event).contains("needs scope"));
    for path in ["retry", "cancel", "replay"] {
        let act = format!("/console/deliveries/{}/{path}", delivery["id"]);
        let page = browser.follow(&act, &[("back", &event)]);
        assert!(page.contains("It needs scope admin."), "{page}");
    }
    assert_eq!(list(&gateway, "/admin/deliveries")[0]["status"], "pending");
}

#[test]
fn message_that_cannot_be_opened_says_why_and_what_helps() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("all", |rule| rule.to(&hook, "/")).start().unwrap();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA"))
        .encrypt(pki::partner())
        .build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    attempted(&gateway, "delivered", 1);
    let event = list(&gateway, "/admin/events").remove(0);
    let path = format!("/console/exchanges/{}", event["id"].as_str().unwrap());
    let page = Browser::of(&gateway, ALL).page(&path);
    for text in [
        "The message could not be opened here. all has it.",
        "Not decrypted",
        "Signature not checked",
        "Why: ACME encrypted it for a key that you do not have",
        "To: the AS2 desk of ACME",
        "has no key for it",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn receipt_is_a_step_of_its_message_and_a_page_of_its_own() {
    let server = receiver().respond(Response::mdn(Mdn::processed())).start();
    let hook = sink().start();
    let gateway = gateway(&server, "")
        .rule("all", |rule| rule.to(&hook, "/").payload("raw").events(&["*"]))
        .start()
        .unwrap();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA"))
        .sign(pki::partner())
        .encrypt(pki::station())
        .receipt(Receipt::SignedSync(Digest::Sha256))
        .build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    attempted(&gateway, "delivered", 2);
    let of = |kind: &str| {
        let event = list(&gateway, &format!("/admin/events?event={kind}")).remove(0);
        format!("/console/exchanges/{}", event["id"].as_str().unwrap())
    };
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page(&of("message.received"));
    for text in [
        "The message arrived safely. all has it.",
        "so only you could open it",
        "ACME signed it",
        "Receipt sent to ACME",
        "For ACME it is delivered.",
        "Its receipt",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = browser.page(&of("mdn.sent"));
    assert!(
        page.contains("Your AS2 server confirmed a message.")
            && page.contains("It confirms the message"),
        "{page}"
    );
    assert!(
        page.contains("The message it confirms") && page.contains("The receipt as it came"),
        "{page}"
    );
    assert_eq!(browser.get(&format!("{}/mdn", of("mdn.sent"))).status, 200);
}
