//! Sinks and formats of plugins in rules.

use std::{borrow::Cow, collections::BTreeMap};

use as2hook_event::Event;
use as2hook_format::{Content, Format, Rendering};
use as2hook_sink::{Delivered, Notification, Sink, SinkError};
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kafka {
    brokers: Vec<String>,
    topic: String,
    #[serde(default)]
    partition: Option<u16>,
    #[serde(default)]
    acks: Acks,
    #[serde(default)]
    linger: f64,
    #[serde(default)]
    labels: BTreeMap<String, i8>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    separator: Option<char>,
    #[serde(default)]
    ports: Vec<u16>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Acks {
    #[default]
    All,
    One,
}

struct KafkaSink;

#[async_trait::async_trait]
impl Sink for KafkaSink {
    type Settings = Kafka;

    async fn send(
        &self,
        _: &Kafka,
        _: Notification,
        _: tokio::time::Instant,
    ) -> Result<Delivered, SinkError> {
        Ok(Delivered::default())
    }
}

struct Csv;

impl Format for Csv {
    fn needs_payload(&self) -> bool {
        true
    }

    fn content<'a>(&self, _: &'a Event, _: &Rendering<'_>) -> Content<'a> {
        Content { content_type: Some(Cow::Borrowed(b"text/csv")), ..Content::default() }
    }
}

fn plugins() -> Plugins {
    let mut plugins = Plugins::default();
    plugins.add_sink("kafka", KafkaSink);
    plugins.formats.insert("csv", Csv);
    plugins
}

fn load_rules(rules: &str) -> Result<Loaded, Vec<String>> {
    load_rules_with(&plugins(), rules)
}

fn load_rules_with(plugins: &Plugins, rules: &str) -> Result<Loaded, Vec<String>> {
    let files = Files::new(&[("as2hook.yaml", RECEIVER), ("webhooks.yaml", rules)]);
    let variables = |name: &str| match name {
        "NUMBER" => Ok("7".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let path = files.folder.path().join("as2hook.yaml");
    let outcome = attempt_with(&path, plugins, variables).outcome;
    outcome.map_err(|mistakes| files.shown(&mistakes))
}

#[test]
fn sink_of_a_plugin_is_read_by_its_own_type() {
    let rules = "webhooks:\n- name: a\n  payload: csv\n  sink:\n    type: kafka\n    brokers: [\"a:1\", b]\n    \
                 topic: t${NUMBER}\n    partition: ${NUMBER}\n    acks: one\n    linger: 0.5\n    \
                 labels: { x: -1 }\n    tls: on\n";
    let loaded = load_rules(rules).unwrap();
    let endpoint = &loaded.rules.get("a").unwrap().endpoint;
    let sink = endpoint.sink.as_ref().unwrap();
    let expected = Kafka {
        brokers: vec!["a:1".to_owned(), "b".to_owned()],
        topic: "t7".to_owned(),
        partition: Some(7),
        acks: Acks::One,
        linger: 0.5,
        labels: BTreeMap::from([("x".to_owned(), -1)]),
        tls: true,
        separator: None,
        ports: Vec::new(),
    };
    assert_eq!(sink.settings.downcast_ref(), Some(&expected));
    assert_eq!(
        (endpoint.url.to_string().as_str(), sink.keys["topic"].as_str()),
        ("kafka", Some("t7"))
    );
    assert_eq!((endpoint.payload.name, endpoint.payload.needs_payload), ("csv", true));
    assert!(!format!("{sink:?}").contains("t7"), "its keys may be secrets");
}

#[test]
fn mistakes_in_the_keys_of_a_sink_are_reported_at_their_places() {
    let rules = "webhooks:\n- name: a\n  sink: { type: kafka, brokers: [a, 1], topic: [t], partition: 70000,\n    \
                 acks: none, linger: soon, labels: { x: 300 }, tls: maybe, colour: red }\n";
    let found = load_rules(rules).map(|_| ()).unwrap_err().join("\n");
    for line in [
        "webhooks.yaml:3:37: webhooks[0].sink.brokers[1]: must be text, not a number; put quotes around it",
        "webhooks.yaml:3:48: webhooks[0].sink.topic: must be text, not a list",
        "webhooks.yaml:3:64: webhooks[0].sink.partition: must be u16",
        "webhooks.yaml:4:11: webhooks[0].sink.acks: must be all or one",
        "webhooks.yaml:4:25: webhooks[0].sink.linger: must be a number",
        "webhooks.yaml:4:44: webhooks[0].sink.labels.x: must be i8",
        "webhooks.yaml:4:56: webhooks[0].sink.tls: must be true or false",
        "webhooks.yaml:4:63: webhooks[0].sink.colour: unknown key",
    ] {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
}

#[test]
fn mistakes_in_the_keys_of_a_sink_do_not_quote_values() {
    let rules = "webhooks: [{ name: a, sink: { type: kafka, brokers: [], topic: t, separator: hunter2,\n  \
                 ports: hunter2, partition: 70707 } }]\n";
    let found = load_rules(rules).map(|_| ()).unwrap_err().join("\n");
    for line in
        ["separator: must be a character", "ports: must be a sequence", "partition: must be u16"]
    {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
    assert!(!found.contains("hunter2") && !found.contains("70707"), "{found}");
}

#[test]
#[should_panic(expected = "the sink \"http\" is built in")]
fn built_in_sink_cannot_be_replaced() {
    Plugins::default().add_sink("http", KafkaSink);
}

#[test]
fn rule_without_payload_has_the_format_that_replaced_headers() {
    let mut plugins = plugins();
    plugins.formats.insert("headers", Csv);
    let rules = "webhooks: [{ name: a, url: \"http://127.0.0.1/\" }]\n";
    let loaded = load_rules_with(&plugins, rules).unwrap();
    let payload = loaded.rules.get("a").unwrap().endpoint.payload;
    assert_eq!((payload.name, payload.needs_payload), ("headers", true));
}

#[test]
fn rule_has_one_sink() {
    for (rule, mistake) in [
        ("{ name: a }", "the key `url` is missing"),
        ("{ name: a, sink: {} }", "sink: the key `type` is missing"),
        ("{ name: a, sink: kafka }", "sink: must be a mapping, not text"),
        ("{ name: a, sink: { type: kafak } }", "sink.type: must be kafka; did you mean `kafka`?"),
        (
            "{ name: a, sink: { type: kafka, brokers: [], topic: t }, secret: x }",
            "secret: is of no use: the webhook has a `sink`, which is not http",
        ),
    ] {
        let mistakes = load_rules(&format!("webhooks: [{rule}]\n")).map(|_| ()).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].ends_with(mistake), "{mistakes:?}");
    }
    expect_rules(
        "webhooks: [{ name: a, sink: «{ type: kafka } }]",
        &[("webhooks[0].sink", "this program has no sink besides http; give the webhook a `url`")],
    );
}

#[test]
fn keys_of_a_sink_are_shown_without_their_values() {
    let rules = "webhooks: [{ name: a, sink: { type: kafka, brokers: [], topic: hunter2 } }]\n";
    let files = Files::new(&[("as2hook.yaml", RECEIVER), ("webhooks.yaml", rules)]);
    let shown = render(&files.folder.path().join("as2hook.yaml"), &plugins()).unwrap();
    assert!(shown.contains("type: kafka") && shown.contains("topic: '***'"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
