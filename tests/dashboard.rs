//! The board for Grafana: a real Prometheus scrapes a gateway that works, and has data for every panel.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use as2hook_testing::{
    Client, Gateway, Message, Part, Post, Response, gateway::free_address, pki, receiver, sink,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

fn board() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/grafana/as2hook.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter()
}

/// The panels with data.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    items(&board["panels"]).filter(|panel| panel["type"] != "row")
}

#[test]
fn panels_have_ids_places_units_and_the_chosen_data_source() {
    let board = board();
    let variables: Vec<_> =
        items(&board["templating"]["list"]).map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance", "webhook"]);
    assert_eq!(board["templating"]["list"][0]["type"], "datasource");
    let source = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    for variable in items(&board["templating"]["list"]).skip(1) {
        assert_eq!(variable["datasource"], source);
    }
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in items(&board["panels"]) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{title}");
        let mut places = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(places.all(|cell| cells.insert(cell)), "{title} lies on another panel");
    }
    assert!(panels(&board).count() > 20);
    for panel in panels(&board) {
        let title = &panel["title"];
        assert_eq!(panel["datasource"], source, "{title}");
        let units = ["none", "s", "bytes", "reqps", "ops"];
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(units.iter().any(|known| unit == known), "{title}: {unit}");
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        let names: BTreeSet<_> = items(&panel["targets"]).map(|it| it["refId"].as_str()).collect();
        assert_eq!(names.len(), items(&panel["targets"]).count(), "{title}");
        assert!(items(&panel["targets"]).all(|target| target["datasource"] == source), "{title}");
    }
}

#[test]
fn every_panel_shows_data_of_a_gateway_that_works() {
    let board = board();
    let (receiver, healthy) = (receiver().start(), sink().start());
    let failing = sink().respond(Response::status(500)).start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("orders", |rule| rule.to(&healthy, "/").payload("json"))
        .rule("archive", |rule| rule.to(&failing, "/").set("retry", "[100ms, 1h]").always())
        .start()
        .unwrap();
    let prometheus = Prometheus::start(gateway.admin().address());

    let mut missing: Vec<String> = panels(&board)
        .flat_map(|panel| items(&panel["targets"]))
        .map(|target| expression(&target["expr"]))
        .collect();
    let expressions = missing.len();
    assert!(expressions > 25, "{expressions}");
    let began = SystemTime::now();
    let mut sent = 0;
    while !missing.is_empty() {
        let waited = began.elapsed().unwrap();
        assert!(waited < SOON, "no data of {expressions} after {sent} messages: {missing:#?}");
        // One that opens, one for a key that no station has, and one that is no HTTP.
        for key in [pki::station(), pki::stranger()] {
            sent += 1;
            let message = Message::new("ACME", "MY-OWN-ORG")
                .id(&format!("<{sent}@acme>"))
                .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
                .sign(pki::partner())
                .encrypt(key)
                .build();
            gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        }
        let mut malformed = gateway.inbound().connect().unwrap();
        malformed.write(b"POST /as2 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n").unwrap();
        malformed.read_reply("POST").unwrap();
        missing.retain(|expression| !prometheus.has_data(expression));
    }
    for (name, metric) in [("instance", "as2hook_store_up"), ("webhook", "as2hook_webhook_up")] {
        let variable = items(&board["templating"]["list"]).find(|it| it["name"] == name).unwrap();
        assert_eq!(variable["query"]["query"], format!("label_values({metric}, {name})"));
        let values = prometheus.ask(&format!("/api/v1/label/{name}/values?match%5B%5D={metric}"));
        assert_ne!(values["data"], serde_json::json!([]), "{name}");
    }
}

/// What Grafana sends: its variables replaced.
fn expression(written: &Value) -> String {
    let replaced = written
        .as_str()
        .unwrap()
        .replace("$__rate_interval", "10s")
        .replace("$instance", ".*")
        .replace("$webhook", ".*");
    assert!(!replaced.contains('$'), "{replaced}");
    replaced
}

/// Scrapes a gateway until it is dropped.
struct Prometheus {
    process: Child,
    client: Client,
    _folder: tempfile::TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: as2hook\n    static_configs: \
             [{{ targets: [\"{target}\"] }}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus, which test.sh installs");
        Self { process, client: Client::new(address), _folder: folder }
    }

    fn ask(&self, path: &str) -> Value {
        let reply = self.client.get(path).unwrap();
        let response = reply.json();
        assert_eq!(response["status"], "success", "{path}: {response}");
        response
    }

    /// Whether the expression had a number in the last minute.
    fn has_data(&self, expression: &str) -> bool {
        // It may still be starting.
        if self.client.connect().is_err() {
            return false;
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let path = format!("/api/v1/query_range?query={query}&start={}&end={now}&step=1", now - 60);
        let response = self.ask(&path);
        items(&response["data"]["result"])
            .flat_map(|series| items(&series["values"]))
            .any(|it| it[1].as_str().is_some_and(|value| value.parse().is_ok_and(f64::is_finite)))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
