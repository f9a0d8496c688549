//! What axe-core finds, and pages on small screens.

use serde_json::Value;

use super::{
    super::{ALL, any_receiver, gateway},
    Window,
    stage::{PAGES, Stage},
};

/// The faults that axe-core calls serious or critical, each with the first elements that have it.
const FAULTS: &str = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations
    .filter((it) => ['serious', 'critical'].includes(it.impact))
    .map((it) => [it.id, it.help, ...it.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`)]))";

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn pages_have_no_serious_fault_in_light_and_dark() {
    let axe = std::env::var("AS2HOOK_AXE").expect("tests/browser/run installs it");
    let axe = std::fs::read_to_string(axe).unwrap();
    let stage = Stage::set();
    let empty = gateway(any_receiver(), "").start().unwrap();
    let mut faults = Vec::new();
    let mut look = |window: &Window, page: &str| {
        window
            .chromium
            .script("for (const all of document.querySelectorAll('details')) all.open = true");
        window.chromium.evaluate(&axe);
        for (width, colours) in [(1280, "light"), (1280, "dark"), (360, "light")] {
            window.chromium.show(width, 900, colours);
            let found = window.chromium.evaluate(FAULTS);
            if found != Value::Array(Vec::new()) {
                faults.push(format!("{page}, {colours}, {width} px: {found:#}"));
            }
            let wide = window.overflow();
            if !wide.is_null() {
                faults.push(format!("{page}: wider than {width} px: {wide}"));
            }
        }
    };
    let window = Window::new(&empty);
    window.open("/console/signin");
    look(&window, "sign-in");
    window.sign_in("guess");
    window.reads("This token is not known here.");
    look(&window, "refused sign-in");
    window.sign_in(ALL);
    window.chromium.wait_for("location.pathname == '/console/'");
    for page in ["/console/", "/console/exchanges", "/console/deliveries", "/console/webhooks"] {
        window.open(page);
        look(&window, &format!("{page} of an empty gateway"));
    }
    let window = Window::of(&stage.gateway, ALL);
    for page in PAGES.into_iter().chain(stage.objects.iter().map(String::as_str)) {
        window.chromium.show(1280, 900, "light");
        window.open(page);
        look(&window, page);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn page_is_walked_through_by_keys() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let window = Window::of(&gateway, ALL);
    window.open("/console/webhooks");
    // The first key leads past the navigation.
    window.chromium.press_key("Tab", 9);
    assert_eq!(
        window.chromium.script("return document.activeElement.innerText"),
        "Skip to the content"
    );
    window.chromium.press_key("Enter", 13);
    window.chromium.wait_for("location.hash == '#main'");
    window.chromium.press_key("Tab", 9);
    window.chromium.wait_for("document.querySelector('main').contains(document.activeElement)");
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(window.chromium.script(outline), "solid");
}
