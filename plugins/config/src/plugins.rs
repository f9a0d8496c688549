//! The formats and sinks that rules may name.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use as2hook_event::SinkChoice;
use as2hook_format::Formats;
use as2hook_sink::{Client, Sink, Sinks};
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, json};

use crate::{setting::setting, value::Value};

/// The formats and sinks that rules may name. The default has the built-in ones.
#[derive(Clone, Default)]
pub struct Plugins {
    /// What rules may name as `payload`.
    pub formats: Formats,
    sinks: Sinks,
    keys: BTreeMap<&'static str, SinkKeys>,
}

/// How the keys of a sink are read.
#[derive(Clone, Copy)]
struct SinkKeys {
    read: fn(&Value) -> Option<Arc<dyn Any + Send + Sync>>,
    schema: fn() -> Schema,
}

// === impl Plugins ===

impl Plugins {
    /// Adds a sink, which rules choose with `sink: {type: name, …}`. The other keys are its settings:
    /// fields without a default must be given, and keys that a struct does not have are mistakes.
    /// `${VAR}` is expanded in values.
    ///
    /// No key can be called `type`. Enums are words: variants with data are not read.
    ///
    /// # Panics
    /// When the name is `http`, which is built in.
    pub fn add_sink<S>(&mut self, name: &'static str, sink: S)
    where
        S: Sink<Settings: DeserializeOwned + JsonSchema>,
    {
        assert!(name != Sinks::DEFAULT, "the sink \"{name}\" is built in");
        self.sinks.insert(name, Arc::new(sink));
        let read = |value: &Value| Some(Arc::new(value.mapping::<S::Settings>()?) as _);
        let schema = || {
            // Stands inside of another schema, which has no definitions for it.
            let settings = SchemaSettings::draft07().with(|it| it.inline_subschemas = true);
            settings.into_generator().into_root_schema_for::<S::Settings>()
        };
        self.keys.insert(name, SinkKeys { read, schema });
    }

    /// Returns all sinks, this one of http included.
    pub fn sinks(&self, http: Arc<Client>) -> Sinks {
        let mut sinks = self.sinks.clone();
        sinks.insert(Sinks::DEFAULT, http);
        sinks
    }

    /// Adds the formats and sinks to the schema of `webhooks.yaml`.
    pub(crate) fn describe(&self, schema: &mut Schema) {
        let Some(webhook) = schema.pointer_mut("/definitions/Webhook") else { return };
        let formats: Vec<_> = self.formats.modes().map(|mode| mode.name).collect();
        webhook["properties"]["payload"]["anyOf"][0] = json!({ "enum": formats });
        if self.keys.is_empty() {
            if let Some(properties) = webhook["properties"].as_object_mut() {
                properties.remove("sink");
            }
            if let Some(required) = webhook["required"].as_array_mut() {
                required.push("url".into());
            }
            return;
        }
        webhook["anyOf"] = json!([{ "required": ["url"] }, { "required": ["sink"] }]);
        let sinks = self.keys.iter().map(|(name, keys)| {
            let mut schema = (keys.schema)().to_value();
            schema["properties"]["type"] = json!({ "const": name });
            if let Some(required) = schema["required"].as_array_mut() {
                required.push("type".into());
            } else {
                schema["required"] = json!(["type"]);
            }
            schema
        });
        webhook["properties"]["sink"]["anyOf"] = sinks.collect();
    }
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let formats: Vec<_> = self.formats.modes().map(|mode| mode.name).collect();
        f.debug_struct("Plugins")
            .field("formats", &formats)
            .field("sinks", &self.keys.keys())
            .finish()
    }
}

setting!(
    /// A sink of a plugin. What stands in it is not shown, since it may be a secret.
    PluginSink: SinkChoice,
    |value| {
        let known = &value.plugins().keys;
        let names: Vec<_> = known.keys().copied().collect();
        if names.is_empty() {
            return value.wrong("this program has no sink besides http; give the webhook a `url`");
        }
        value.entries()?;
        let Some(name) = value.get("type") else {
            return value.wrong("the key `type` is missing");
        };
        let name = name.word(&names)?;
        let keys = value.without("type");
        let settings = (known[name].read)(&keys)?;
        Some(SinkChoice { name, keys: keys.mapping()?, settings })
    },
    |sink: &SinkChoice| {
        let masked = sink.keys.as_object().into_iter().flatten().map(|(key, _)| (key.clone(), "***".into()));
        let kind = ("type".to_owned(), serde_json::Value::from(sink.name));
        [kind].into_iter().chain(masked).collect::<Map<_, _>>()
    },
    { "type": "object" }
);
