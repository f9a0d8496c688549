//! The shipped config works as it stands, and so do the examples in its comments.

use std::collections::BTreeSet;

use super::*;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf").join(name)
}

#[test]
fn loads_without_a_mistake_or_a_warning() {
    let attempt =
        attempt_with(&shipped("as2hook.yaml"), &Plugins::default(), |_| Err(VarError::NotPresent));
    let loaded = attempt.outcome.unwrap();
    assert_eq!(attempt.warnings, []);
    assert_eq!(loaded.rules.iter().len(), 0);
    assert_eq!(attempt.sources.paths, [shipped("as2hook.yaml"), shipped("webhooks.yaml")]);
}

/// What is not commented out says the defaults, as the file promises.
#[test]
fn shows_the_defaults() {
    let attempt =
        attempt_with(&shipped("as2hook.yaml"), &Plugins::default(), |_| Err(VarError::NotPresent));
    let shipped = attempt.outcome.unwrap().config;
    let (plain, files) = right("", NO_RULES);
    let as_shipped = format!("{:?}", plain.config).replace(
        &files.folder.path().display().to_string(),
        &self::shipped("").display().to_string(),
    );
    let place = |text: &str| text.split("fixed:").next().unwrap().replace("conf//", "conf/");
    assert_eq!(place(&format!("{shipped:?}")), place(&as_shipped));
}

/// Every key that a schema has, of the document and of all mappings in it.
fn keys(schema: &serde_json::Value, into: &mut BTreeSet<String>) {
    let Some(entries) = schema.as_object() else { return };
    if let Some(properties) = schema["properties"].as_object() {
        into.extend(properties.keys().cloned());
    }
    entries.values().for_each(|value| match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, into)),
        value => keys(value, into),
    });
}

#[test]
fn every_key_stands_in_it() {
    for (file, schema) in
        [("as2hook.yaml", schema()), ("webhooks.yaml", webhooks_schema(&Plugins::default()))]
    {
        let text = fs::read_to_string(shipped(file)).unwrap();
        // Behind `#`, `-` and `{` too, but as a key: `name:`.
        let keys_there: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim_start_matches(['#', ' ', '-']).split_once(':'))
            .map(|(key, _)| key)
            .collect();
        let mut known = BTreeSet::new();
        keys(schema.as_value(), &mut known);
        assert!(known.len() > 20, "{known:?}");
        for key in known {
            assert!(keys_there.contains(&key.as_str()), "{key} is not explained in conf/{file}");
        }
    }
}

/// Each example in the comments, put in, has no mistake but the files that it names.
#[test]
fn the_examples_are_right() {
    for file in ["as2hook.yaml", "webhooks.yaml"] {
        let text = fs::read_to_string(shipped(file)).unwrap();
        for (number, example) in examples(&text).into_iter().enumerate() {
            let gateway = if file == "as2hook.yaml" { example.as_str() } else { RECEIVER };
            let rules = if file == "as2hook.yaml" { NO_RULES } else { example.as_str() };
            let files = Files::new(&[("as2hook.yaml", gateway), ("webhooks.yaml", rules)]);
            let expected = ["does not exist", "is given too", "is not set", "is missing beside it"];
            let mistakes = files.attempt().outcome.err().unwrap_or_default();
            let shown = files.shown(&mistakes);
            let wrong: Vec<_> = shown
                .iter()
                .filter(|shown| !expected.iter().any(|word| shown.contains(word)))
                .collect();
            assert!(wrong.is_empty(), "example {number} of conf/{file}: {wrong:#?}\n{example}");
        }
    }
}

/// The document with one example put in place of what it is an example for, for each.
pub(super) fn examples(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| line.contains("# Example"));
    let made = starts.map(|(start, line)| {
        let indent = line.find('#').unwrap();
        let prose = |line: &&str| {
            !line.trim_start_matches([' ', '#']).ends_with(':') && !line.contains(": ")
        };
        let commented = |line: &&str| line.trim_start().starts_with('#');
        let block: Vec<_> = lines[start + 1..]
            .iter()
            .take_while(|line| commented(line) && !line.contains("# Example"))
            .skip_while(|line| prose(line))
            .map(|line| {
                let line = line.trim_start().trim_start_matches('#');
                format!("{}{}", " ".repeat(indent), line.strip_prefix(' ').unwrap_or(line))
            })
            .collect();
        let key = block.first().and_then(|line| line.split(':').next()).unwrap_or("").to_owned();
        let replaced = |line: &&&str| !line.starts_with(&format!("{key}:"));
        let before = lines[..start].iter().filter(replaced);
        let after = lines[start + 1..].iter().filter(replaced);
        let text = |line: &&str| (*line).to_owned();
        before.map(text).chain(block).chain(after.map(text)).collect::<Vec<_>>().join("\n")
    });
    made.collect()
}
