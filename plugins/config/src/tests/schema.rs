//! The JSON Schemas describe what is read, and what is in force can be written and read again.

use serde_json::{Value as Json, json};

use super::*;

/// What is wrong with a document by a schema, as far as our schemas go.
fn violations(schema: &Json, root: &Json, value: &Json, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |is_right: bool, what: &str| {
        if !is_right {
            found.push(format!("{path}: {value} {what}"));
        }
    };
    if let Some(reference) = schema["$ref"].as_str() {
        let within = root.pointer(reference.trim_start_matches('#')).expect("a reference leads on");
        return violations(within, root, value, path);
    }
    if let Some(words) = schema["enum"].as_array() {
        check(words.contains(value), "is none of the words");
    }
    if !schema["const"].is_null() {
        check(&schema["const"] == value, "is not the constant");
    }
    match schema["type"].as_str() {
        Some("object") => check(value.is_object(), "is no object"),
        Some("array") => check(value.is_array(), "is no array"),
        Some("string") => check(value.is_string(), "is no string"),
        Some("integer") => check(value.is_u64(), "is no number"),
        Some("boolean") => check(value.is_boolean(), "is no boolean"),
        other => assert_eq!(other, None),
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        check(regex::Regex::new(pattern).unwrap().is_match(text), pattern);
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_u64(), value.as_u64()) {
        check(number >= least, "is too small");
    }
    if let (Some(least), Some(items)) = (schema["minItems"].as_u64(), value.as_array()) {
        check(items.len() as u64 >= least, "has too few items");
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        check(value.get(key.as_str().unwrap()).is_some(), &format!("has no {key}"));
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |one: &Json| violations(one, root, value, path).is_empty();
        check(any.iter().any(fits), "is nothing of what it may be");
    }
    for one in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(violations(one, root, value, path));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Json::Null, Json::Bool(false)) => found.push(format!("{path} is unknown")),
            (Json::Null, other @ Json::Object(_)) => {
                found.extend(violations(other, root, value, &path));
            }
            (Json::Null, _) => {}
            (schema, _) => found.extend(violations(schema, root, value, &path)),
        }
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(violations(&schema["items"], root, item, &format!("{path}[{at}]")));
    }
    found
}

fn judge(schema: &schemars::Schema, yaml: &str) -> Vec<String> {
    let document: Json = serde_yaml::from_str(yaml).unwrap();
    violations(schema.as_value(), schema.as_value(), &document, "")
}

/// The YAML files in a folder and in all that are in it.
fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            into.push(path);
        }
    }
}

#[test]
fn shipped_configs_and_examples_fit_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    files(&root.join("conf"), &mut paths);
    files(&root.join("examples"), &mut paths);
    // Of several documents, with the config as a text in one: tests/kubernetes.rs reads them.
    paths.retain(|path| !path.parent().is_some_and(|folder| folder.ends_with("kubernetes")));
    let (mut gateways, mut rules) = (0, 0);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let documents = [text.clone()].into_iter().chain(shipped::examples(&text));
        for text in documents {
            let document: Json = serde_yaml::from_str(&text).unwrap();
            let (schema, count) = match (&document["receiver"], &document["webhooks"]) {
                (Json::Object(_), _) => (schema(), &mut gateways),
                (_, Json::Array(_)) => (webhooks_schema(&Plugins::default()), &mut rules),
                // Compose files and the like.
                _ => continue,
            };
            *count += 1;
            assert_eq!(judge(&schema, &text), [""; 0], "{}\n{text}", path.display());
        }
    }
    assert!(gateways > 3 && rules > 3, "{gateways} and {rules} were found");
}

#[test]
fn wrong_document_does_not_fit_its_schema() {
    let wrong = judge(
        &schema(),
        "receiver: { url: [] }\nsite: 1\nlimits: { body: many, cpu: 5, spam: 1 }\n\
         on_store_failure: no\nlisten: { outbound: {} }",
    );
    for path in [
        ".receiver.url",
        ".site",
        ".limits.body",
        ".limits.cpu",
        ".limits.spam",
        ".on_store_failure",
    ] {
        assert!(wrong.iter().any(|one| one.starts_with(path)), "{path} is not in {wrong:#?}");
    }
    assert!(wrong.iter().any(|one| one.contains("has no \"address\"")), "{wrong:#?}");
    let wrong = judge(
        &webhooks_schema(&Plugins::default()),
        "webhooks: [{ name: a, events: [message.lost] }]",
    );
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
}

#[test]
fn schema_has_descriptions_defaults_and_words() {
    let schema = schema();
    let limits = &schema.as_value()["definitions"]["Limits"]["properties"];
    assert_eq!(
        (&limits["body"]["default"], &limits["cpu"]["default"]),
        (&json!("4GiB"), &json!("1s"))
    );
    assert!(limits["idle"]["description"].as_str().unwrap().contains("first byte"), "{limits}");
    let policy = schema.as_value()["properties"]["on_store_failure"].to_string();
    assert!(policy.contains(r#"["pass","refuse"]"#), "{policy}");
}

#[test]
fn rendered_config_is_read_as_the_config_that_it_is_of() {
    let gateway = "receiver: { url: [\"http://127.0.0.1:10080\"], ca: keys/rsa.crt }\n\
                   stations: [{ as2_id: WE, keys: [{ certificate: keys/rsa.crt, private_key: keys/rsa.key }] }]\n\
                   partners: [{ as2_id: ACME, certificates: [keys/ec.crt], mdn: any }]\n\
                   limits: { body: 1GiB, idle: 90s }\nlisten: { outbound: { address: \"127.0.0.1:8085\" } }";
    let rules =
        "webhooks: [{ name: a, url: \"http://a/\", signature: [valid], errors: [800], retry: [] }]";
    let (loaded, files) = right(gateway, rules);
    let path = files.folder.path().join("as2hook.yaml");
    let text = render(&path, &Plugins::default()).unwrap();
    let (gateway, rules) = text.split_once("---\n").unwrap();
    assert!(gateway.contains("drain: 20s\n") && gateway.contains("body: 1GiB\n"), "{gateway}");
    fs::write(&path, gateway).unwrap();
    fs::write(files.folder.path().join("webhooks.yaml"), rules).unwrap();
    let again = files.attempt().outcome.unwrap();
    let settings =
        |config: &Config| format!("{config:?}").split("fixed:").next().map(str::to_owned);
    assert_eq!(settings(&again.config), settings(&loaded.config));
    assert_eq!(again.rules.get("a"), loaded.rules.get("a"));
}
