//! The configuration in force, reloads, and what tokens did.

use as2hook_testing::sink;

use super::{ALL, Browser, OTHER, READ, any_receiver, gateway, last_action};

#[test]
fn reload_with_mistakes_shows_each_with_its_place_and_keeps_what_is_in_force() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("secret", "my_secret"))
        .start()
        .unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/config");
    for text in [
        "Configuration 1 is in force",
        "site: main",
        "as2_id: MY-OWN-ORG",
        "Reload now",
        "In force",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = browser.follow("/console/config/reload", &[]);
    assert!(page.contains("is in force: no rule changed."), "{page}");
    assert_eq!(last_action(&gateway)[..2], [ALL, "reload"]);
    let rules = "webhooks:\n  - name: orders\n    ulr: \"http://127.0.0.1/\"\n  - name: <b>two</b>\n    url: nowhere\n";
    gateway.write("webhooks.yaml", rules).unwrap();
    let page = browser.follow("/console/config/reload", &[]);
    assert!(page.contains("The last change was refused."), "{page}");
    assert!(page.contains("webhooks.yaml:3:5") && page.contains("webhooks.yaml:5:"), "{page}");
    assert!(page.contains("mistakes to mend") && !page.contains("<b>two</b>"), "{page}");
    let page = browser.page("/console/config/actions");
    assert!(page.contains("reload") && page.contains(ALL), "{page}");
    assert!(browser.page("/console/webhooks").contains("orders"), "what was in force stays");
}

#[test]
fn config_of_the_gateway_is_shown_to_the_default_site_alone() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let yaml = Browser::of(&gateway, READ).get("/console/config/as2hook.yaml");
    assert!(yaml.status == 200 && yaml.text().contains("site: main"), "{}", yaml.text());
    let digest = openssl::sha::sha256(ALL.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!yaml.text().contains(&digest), "{}", yaml.text());
    let mut other = Browser::of(&gateway, OTHER);
    let page = other.page("/console/config");
    assert!(
        !page.contains("MY-OWN-ORG") && page.contains("needs a token of the default site"),
        "{page}"
    );
    assert_eq!(other.get("/console/config/as2hook.yaml").status, 404);
    let page = other.follow("/console/config/reload", &[]);
    assert!(page.contains("Only the default site"), "{page}");
    let page = Browser::of(&gateway, READ).follow("/console/config/reload", &[]);
    assert!(page.contains("It needs scope admin."), "{page}");
}
