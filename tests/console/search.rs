//! Searches: what they find, how their pages go on, and what they refuse.

use as2hook_testing::{Message, Part, Post, sink};

use super::{ALL, Browser, OTHER, any_receiver, attempted, gateway, list, send_from};

#[test]
fn exchange_is_found_by_each_of_its_ids() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("all", |rule| rule.to(&hook, "/")).start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/exchanges");
    assert!(page.contains("Nothing has passed yet") && page.contains("What to do first"), "{page}");
    for name in ["first.edi", "second.edi"] {
        let message = Message::new("ACME", "MY-OWN-ORG")
            .id(&format!("<{name}@acme>"))
            .attach(Part::text(name, "application/edifact", "UNA"))
            .build();
        gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    }
    let rows = attempted(&gateway, "delivered", 2);
    let page = browser.page("/console/exchanges");
    assert!(page.contains("first.edi") && page.contains("second.edi"), "{page}");
    assert!(page.contains("1 of 1"), "{page}");
    for search in ["q=first.edi", "q=first.edi%40acme", "q=%3Cfirst.edi%40acme%3E&partner=ACME"] {
        let page = browser.page(&format!("/console/exchanges?{search}"));
        assert!(page.contains("1 exchange matches"), "{search}: {page}");
        assert!(page.contains("first.edi") && !page.contains("second.edi"), "{search}: {page}");
    }
    // Of an id there is one exchange.
    let row = &rows[0];
    let event = row["event"]["id"].as_str().unwrap();
    for id in [event, row["webhook_id"].as_str().unwrap()] {
        let reply = browser.get(&format!("/console/exchanges?q={id}"));
        assert_eq!(reply.header("Location"), Some(format!("/console/exchanges/{event}").as_str()));
    }
    for search in
        ["q=none", "partner=acme", "event=send.error", "status=dead", "until=2001-01-01T00:00"]
    {
        let page = browser.page(&format!("/console/exchanges?{search}"));
        assert!(page.contains("No exchange matches"), "{search}: {page}");
    }
    for search in ["from=yesterday", "error_code=1", "status=evil", "event=evil"] {
        let page = browser.page(&format!("/console/exchanges?{search}"));
        assert!(page.contains("This cannot be searched for"), "{search}: {page}");
    }
    let page = Browser::of(&gateway, OTHER).page("/console/exchanges");
    assert!(page.contains("Nothing has passed yet"), "{page}");
}

#[test]
fn lists_go_on_by_a_cursor_and_lose_no_row() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("all", |rule| rule.to(&hook, "/")).start().unwrap();
    for _ in 0..51 {
        send_from(&gateway, "ACME");
    }
    attempted(&gateway, "delivered", 51);
    let ids: Vec<_> = list(&gateway, "/admin/events?limit=500")
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    let mut browser = Browser::of(&gateway, ALL);
    for list in ["/console/exchanges?partner=ACME", "/console/deliveries?webhook=all"] {
        let first = browser.page(list);
        let (_, rest) = first.split_once("rel=\"next\" href=\"").expect(list);
        let next = rest.split_once('"').unwrap().0.replace("&amp;", "&");
        assert!(next.starts_with(list), "{next}");
        let second = browser.page(&next);
        let on = |page: &str| ids.iter().filter(|id| page.contains(*id)).count();
        assert_eq!((on(&first), on(&second)), (50, 1), "{list}");
        assert!(second.contains("Newest") && !second.contains("rel=\"next\""), "{list}");
    }
}
