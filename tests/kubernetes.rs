//! The Kubernetes manifests: each name in them is of something that is there, and the config that they bring runs.
//! `tests/kubernetes/run` checks them by the schemas of Kubernetes besides.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use as2hook_testing::{
    Client, Message, Part, Post, Postgres,
    gateway::{free_address, wait_until},
    pki, receiver, sink,
};
use serde::Deserialize as _;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

/// All documents of `conf/kubernetes`.
struct Manifests(Vec<Value>);

// === impl Manifests ===

impl Manifests {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes");
        let mut documents = Vec::new();
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            for document in serde_yaml::Deserializer::from_str(&text) {
                documents.push(Value::deserialize(document).unwrap());
            }
        }
        Self(documents)
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |document| document["kind"] == kind)
    }

    fn one(&self, kind: &str) -> &Value {
        let found = self.0.iter().find(|document| document["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    }

    fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    fn file(&self, name: &str) -> &str {
        self.one("ConfigMap")["data"][name].as_str().unwrap()
    }

    /// The config, as YAML reads it.
    fn config(&self) -> Value {
        serde_yaml::from_str(self.file("as2hook.yaml")).unwrap()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter()
}

#[test]
fn every_selector_chooses_the_pods_of_the_deployment() {
    let manifests = Manifests::read();
    let labels = &manifests.pod()["metadata"]["labels"];
    let mut selectors = vec![
        &manifests.one("Deployment")["spec"]["selector"]["matchLabels"],
        &manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &manifests.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &manifests.pod()["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ];
    selectors.extend(manifests.of("Service").map(|service| &service["spec"]["selector"]));
    assert_eq!(selectors.len(), 6);
    for selector in selectors {
        let pairs = selector.as_object().unwrap_or_else(|| panic!("{selector}"));
        assert!(!pairs.is_empty());
        assert!(pairs.iter().all(|(key, value)| labels[key] == *value), "{selector}, {labels}");
    }
}

#[test]
fn ports_of_all_manifests_are_those_that_the_config_listens_on() {
    let manifests = Manifests::read();
    let config = manifests.config();
    let listeners = config["listen"].as_object().unwrap();
    let ports: BTreeSet<_> = items(&manifests.container()["ports"])
        .map(|port| (text(&port["name"]), port["containerPort"].as_u64().unwrap()))
        .collect();
    let expected = listeners.iter().map(|(name, listener)| {
        let (host, port) = text(&listener["address"]).rsplit_once(':').unwrap();
        // What listens on loopback is out of reach for probes and Services.
        assert_eq!(host, "0.0.0.0", "{name}");
        (name.as_str(), port.parse().unwrap())
    });
    assert_eq!(ports, expected.collect());

    let mut named: Vec<&Value> = Vec::new();
    for service in manifests.of("Service") {
        named.extend(items(&service["spec"]["ports"]).map(|port| &port["targetPort"]));
    }
    for rule in items(&manifests.one("NetworkPolicy")["spec"]["ingress"]) {
        named.extend(items(&rule["ports"]).map(|port| &port["port"]));
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        named.push(&manifests.container()[probe]["httpGet"]["port"]);
    }
    assert_eq!(named.len(), 9);
    for port in named {
        assert!(ports.iter().any(|(name, _)| port == name), "{port}, {ports:?}");
    }
    let admin = ports.iter().find(|(name, _)| *name == "admin").unwrap().1.to_string();
    let annotations = &manifests.pod()["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], admin);

    // Where our own server posts to is a Service, and the name that the listener takes.
    let internal = text(&config["listen"]["outbound"]["hosts"][0]);
    assert!(manifests.of("Service").any(|service| service["metadata"]["name"] == internal));
    // What the gateway connects to is allowed.
    let egress = manifests.one("NetworkPolicy")["spec"]["egress"].to_string();
    for url in [&config["receiver"]["url"], &config["store"]] {
        let origin = text(url).rsplit_once('@').map_or(text(url), |(_, origin)| origin);
        let (host, rest) = origin.trim_start_matches("http://").split_once(':').unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        assert!(egress.contains(&format!("\"{host}\"")), "{host}: {egress}");
        assert!(egress.contains(&format!("\"port\":{port}")), "{port}: {egress}");
    }
}

#[test]
fn files_and_variables_of_the_config_are_those_of_the_pod() {
    let manifests = Manifests::read();
    let container = manifests.container();
    let volumes = &manifests.pod()["spec"]["volumes"];
    let mut folders = Vec::new();
    for mount in items(&container["volumeMounts"]) {
        let volume = items(volumes).find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
        // A file that is mounted by itself never changes.
        assert_eq!(mount.get("subPath"), None);
        folders.push((text(&mount["mountPath"]), volume));
    }
    let (conf, _) = folders
        .iter()
        .find(|(_, volume)| {
            volume["configMap"]["name"] == manifests.one("ConfigMap")["metadata"]["name"]
        })
        .unwrap();
    let arguments: Vec<_> = items(&container["args"]).map(text).collect();
    assert_eq!(arguments, ["run", "-c", &format!("{conf}/as2hook.yaml")]);

    // The commands of the guide make what the manifests name.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/kubernetes.md")).unwrap();
    let files = [manifests.file("as2hook.yaml"), manifests.file("webhooks.yaml")].concat();
    let (keys, secret) = folders.iter().find(|(_, volume)| volume.get("secret").is_some()).unwrap();
    let create = format!("kubectl create secret generic {}", text(&secret["secret"]["secretName"]));
    assert!(guide.contains(&create), "{create}");
    let mut named = 0;
    for rest in files.split(&format!("{keys}/")).skip(1) {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        let file: String = rest.chars().take_while(is_name).collect();
        assert!(guide.contains(&format!("--from-file={file}")), "{file}");
        named += 1;
    }
    assert_eq!(named, 4);
    assert!(!files.replace(&format!("{keys}/"), "").contains("/etc/"), "{files}");
    let mut variables = 0;
    for rest in files.split("${").skip(1) {
        let name = rest.split(['}', ':']).next().unwrap();
        let variable = items(&container["env"]).find(|variable| variable["name"] == name);
        let key = &variable.unwrap_or_else(|| panic!("{name}"))["valueFrom"]["secretKeyRef"];
        let create = format!("kubectl create secret generic {}", text(&key["name"]));
        assert!(guide.contains(&create), "{create}");
        assert!(guide.contains(&format!("--from-literal={}=", text(&key["key"]))));
        variables += 1;
    }
    assert_eq!(variables, 1);
}

#[test]
fn pod_has_the_time_to_drain_and_the_memory_that_the_config_allows() {
    let manifests = Manifests::read();
    let config = manifests.config();
    let pause = manifests.container()["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let drain: u64 = text(&config["drain"]).trim_end_matches('s').parse().unwrap();
    let grace = manifests.pod()["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= pause + drain + 5, "{grace}: {pause} and {drain}");
    let allowed: u64 = text(&config["limits"]["memory"]).trim_end_matches("GiB").parse().unwrap();
    let limit = text(&manifests.container()["resources"]["limits"]["memory"]);
    let limit: u64 = limit.trim_end_matches("Mi").parse().unwrap();
    assert!(limit >= allowed * 1024 * 3 / 2, "{limit} Mi for {allowed} GiB");
}

#[test]
fn config_of_the_manifests_passes_the_check_and_runs_without_writing_a_file() {
    let manifests = Manifests::read();
    let (receiver, hook, postgres) = (receiver().start(), sink().start(), Postgres::shared());
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    pki::station().write(&keys).unwrap();
    fs::write(keys.join("secret.key"), "7f".repeat(32)).unwrap();
    fs::write(keys.join("orders.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let write = |config: &str, rules: &str| {
        let config = config.replace("/etc/as2hook/keys", keys.to_str().unwrap());
        let rules = rules.replace("/etc/as2hook/keys", keys.to_str().unwrap());
        fs::write(folder.path().join("as2hook.yaml"), config).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), rules).unwrap();
    };
    let (config, rules) = (manifests.file("as2hook.yaml"), manifests.file("webhooks.yaml"));
    write(config, rules);
    let as2hook = |command: &[&str]| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_as2hook"));
        process.args(command).args(["-c", "as2hook.yaml"]).current_dir(folder.path());
        process.env_clear().env("PG_PASSWORD", "unused");
        process
    };
    let checked = as2hook(&["check", "--strict"]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let (inbound, outbound, admin) = (free_address(), free_address(), free_address());
    let store = "postgres://as2hook:${PG_PASSWORD}@postgres:5432/as2hook?sslmode=require";
    let moved = [
        ("0.0.0.0:8080", inbound.to_string()),
        ("0.0.0.0:8085", outbound.to_string()),
        ("0.0.0.0:8081", admin.to_string()),
        ("http://as2-server:10080", receiver.url("")),
        (store, postgres.url()),
    ];
    let config = moved.iter().fold(config.to_owned(), |config, (from, to)| {
        assert!(config.contains(from), "{from}");
        config.replace(from, to)
    });
    write(&config, &rules.replace("http://erp", &hook.url("")));
    let before = listing(folder.path());
    let _running = Killed(as2hook(&["run"]).stderr(Stdio::inherit()).spawn().unwrap());

    // Each probe gets its response.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = text(&manifests.container()[probe]["httpGet"]["path"]);
        let is_ok = || Client::new(admin).get(path).is_ok_and(|reply| reply.status == 200);
        assert!(wait_until(SOON, is_ok), "{path}");
    }
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", &"UNA:+.? '".repeat(100_000)))
        .encrypt(pki::station())
        .build();
    let reply = Client::new(inbound).send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 200);
    let delivered = &hook.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.target(), "/hooks/as2");
    assert_eq!(delivered.json()["attachments"][0]["name"], "order.edi");
    assert!(delivered.header("webhook-signature").is_some());
    // Its root file system is read-only.
    assert_eq!(listing(folder.path()), before);
}

fn listing(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path.display().to_string());
    }
    found
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
