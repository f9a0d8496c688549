//! The screenshots of `docs/console.md`: `docs/console/screenshots.sh` makes them.

use super::{
    super::ALL,
    Window,
    stage::{PAGES, Stage},
};

/// Name, width, height and colours of each screenshot, and where it is.
const SCREENSHOTS: [(&str, u32, u32, &str, &str); 6] = [
    ("overview", 1280, 1000, "light", "/console/"),
    ("overview-dark", 1280, 1000, "dark", "/console/"),
    ("overview-small", 360, 760, "light", "/console/"),
    ("exchange", 1280, 1000, "light", ""),
    ("deliveries", 1280, 800, "light", "/console/deliveries?webhook=erp-orders&status=pending"),
    ("webhooks", 1280, 800, "light", "/console/webhooks?te=message.received&tp=GLOBEX"),
];

#[test]
#[ignore = "changes the documentation: docs/console/screenshots.sh"]
fn screenshots_of_the_documentation_are_made() {
    let folder =
        std::env::var("AS2HOOK_SCREENSHOTS").expect("docs/console/screenshots.sh names it");
    let stage = Stage::set();
    let window = Window::of(&stage.gateway, ALL);
    for (name, width, height, colours, path) in SCREENSHOTS {
        window.chromium.show(width, height, colours);
        window.open(if path.is_empty() { &stage.exchange } else { path });
        if path == "/console/" {
            window.reads("Live");
        }
        let file = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(file, window.chromium.screenshot()).unwrap();
    }
}

#[test]
#[ignore = "for a look at every page after a change of the style: AS2HOOK_SCREENSHOTS names a folder"]
fn every_page_is_shown_in_every_size() {
    let folder = std::env::var("AS2HOOK_SCREENSHOTS").expect("a folder is named");
    let stage = Stage::set();
    let window = Window::of(&stage.gateway, ALL);
    let objects = stage.objects.iter().map(String::as_str);
    for (number, page) in PAGES.into_iter().chain(objects).enumerate() {
        for (width, colours) in [(360, "light"), (1280, "light"), (1280, "dark"), (2560, "dark")] {
            window.chromium.show(width, width.max(900), colours);
            window.open(page);
            let file = format!("{folder}/{number:02}-{width}-{colours}.png");
            std::fs::write(file, window.chromium.screenshot()).unwrap();
        }
    }
}
