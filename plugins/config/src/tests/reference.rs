//! `docs/configuration.md` says what the types say: `UPDATE=1` writes it anew.

use serde_json::Value as Json;

use super::*;

const INTRODUCTION: &str = "\
# Configuration

Every key of `as2hook.yaml` and `webhooks.yaml`, made from the code that reads them (`UPDATE=1 cargo nextest run
--workspace -E 'test(reference)'` writes this page). [conf/as2hook.yaml](../conf/as2hook.yaml) and
[conf/webhooks.yaml](../conf/webhooks.yaml) explain the same keys by example; `as2hook init` writes both with a
first webhook, `as2hook check` finds every mistake, and `as2hook config` prints what is in force.

- **Variables.** Inside any string `${NAME}` is an environment variable, `${NAME:-default}` one that may be missing, and
  `$$` a `$`.
- **Paths** are relative to the file that they stand in.
- **Sizes** are `4096`, `64KiB` or `2GiB`, **durations** `500ms`, `15s`, `5m`, `24h` or `7d`.
- **Unknown keys**, keys that stand twice and wrong types are mistakes, with their line.
- **A change takes effect at once**, without a restart, but of `listen` (addresses, and whether there is TLS), `store`,
  `payloads`, `payloads_allow_http`, `on_store_failure` and `secret_key_file`: a reload that changes one of these is refused.
- **Editors** with yaml-language-server complete and check the files by this first line, and the schema that
  `as2hook schema > as2hook.json` prints (`as2hook schema webhooks` for the rules): `# yaml-language-server: $schema=as2hook.json`
";

#[test]
fn configuration_reference_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let made = [
        INTRODUCTION.to_owned(),
        Reference::of("as2hook.yaml", schema().as_value()),
        Reference::of("webhooks.yaml", webhooks_schema(&Plugins::default()).as_value()),
    ]
    .join("\n");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&page, &made).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap();
    assert!(written == made, "docs/configuration.md is out of date: UPDATE=1 writes it anew");
}

/// The sections of one file, in the order in which their keys are met.
struct Reference<'a> {
    root: &'a Json,
    sections: Vec<Part<'a>>,
}

/// A mapping, and where it stands.
struct Part<'a> {
    paths: Vec<String>,
    schema: &'a Json,
}

impl<'a> Reference<'a> {
    fn of(file: &str, root: &'a Json) -> String {
        let mut reference = Self { root, sections: Vec::new() };
        reference.collect("", root);
        let parts = reference.sections.iter().map(|section| reference.part(file, section));
        parts.collect::<Vec<_>>().join("\n")
    }

    /// Finds the mappings, each once. A list's items are called `[]`.
    fn collect(&mut self, path: &str, schema: &'a Json) {
        if let Some(known) = self.sections.iter_mut().find(|it| std::ptr::eq(it.schema, schema)) {
            known.paths.push(path.to_owned());
        } else {
            self.sections.push(Part { paths: vec![path.to_owned()], schema });
        }
        for (key, value) in properties(schema) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if let Some(mapping) = self.mapping(value) {
                self.collect(&path, mapping);
            } else if let Some(mapping) = self.mapping(&value["items"]) {
                self.collect(&format!("{path}[]"), mapping);
            }
        }
    }

    /// The schema of a mapping with keys of its own.
    fn mapping(&self, schema: &'a Json) -> Option<&'a Json> {
        let schema = if schema["allOf"].is_array() { &schema["allOf"][0] } else { schema };
        match schema["$ref"].as_str() {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')),
            None => schema["properties"].is_object().then_some(schema),
        }
    }

    fn part(&self, file: &str, part: &Part<'a>) -> String {
        let is_root = part.paths == [""];
        let title = match is_root {
            true => format!("## {file}"),
            false => format!("### {}", heading(&part.paths)),
        };
        let about = part.schema["description"].as_str().filter(|_| !is_root).map(cell);
        let about = about.map(|text| format!("\n{text}\n")).unwrap_or_default();
        let required = part.schema["required"].as_array();
        let rows = properties(part.schema).map(|(key, value)| {
            let is_required = required.is_some_and(|keys| keys.iter().any(|other| other == key));
            let default = if is_required { "required".to_owned() } else { default(value) };
            let about = value["description"].as_str().map(cell).unwrap_or_default();
            format!("| `{key}` | {} | {default} | {about} |\n", self.type_of(value))
        });
        format!(
            "{title}\n{about}\n| key | type | default | meaning |\n|---|---|---|---|\n{}",
            rows.collect::<String>()
        )
    }

    fn type_of(&self, schema: &'a Json) -> String {
        let link = |mapping: &Json, word: &str| {
            let section = self.sections.iter().find(|it| std::ptr::eq(it.schema, mapping)).unwrap();
            format!("[{word}](#{})", anchor(&section.paths))
        };
        if let Some(mapping) = self.mapping(schema) {
            return link(mapping, "mapping");
        }
        if let Some(mapping) = self.mapping(&schema["items"]) {
            return format!("list of {}", link(mapping, "mappings"));
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let mut types: Vec<_> = any.iter().map(|one| self.type_of(one)).collect();
            types.retain(|one| !one.is_empty());
            if let [one, list] = types.as_mut_slice()
                && *list == format!("list: {one}")
            {
                "a list of these".clone_into(list);
            }
            if let [number, size] = types.as_slice()
                && size == "size"
            {
                let least =
                    number.strip_prefix("number, at least 1").filter(|rest| rest.is_empty());
                return if least.is_some() { size.clone() } else { number.replace("number", size) };
            }
            return types.join(", or ");
        }
        if let Some(words) = schema["enum"].as_array() {
            let words: Vec<_> = words.iter().map(|word| format!("`{}`", plain(word))).collect();
            return words.join(", ");
        }
        if let Some(types) = schema["type"].as_array() {
            let word = |one: &Json| if one == "integer" { "number" } else { "text" };
            return types.iter().map(word).collect::<Vec<_>>().join(" or ");
        }
        match schema["type"].as_str() {
            Some("string") => text_type(schema["pattern"].as_str().unwrap_or_default()).to_owned(),
            Some("integer") => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
                (Some(least), Some(most)) if most <= 1_000_000_000 => {
                    format!("number, {least} to {most}")
                }
                (Some(least), _) => format!("number, at least {least}"),
                _ => "number".to_owned(),
            },
            Some("boolean") => "`true`, `false`".to_owned(),
            Some("array") => format!("list: {}", self.type_of(&schema["items"])),
            Some("object") => "mapping of text".to_owned(),
            other => panic!("a type without a word: {other:?} in {schema}"),
        }
    }
}

fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// What the patterns of `setting` are in words. Of a variable alone nothing is said: it may stand anywhere.
fn text_type(pattern: &str) -> &'static str {
    match pattern {
        "" => "text",
        r"\$\{" => "",
        _ if pattern.contains("KMGT") => "size",
        _ if pattern.contains("/ *(s|min") => "rate, such as `50/s`",
        _ if pattern.contains("(ms|s|m|h") => "duration",
        _ if pattern.contains("https?://") => "URL",
        _ if pattern.contains(r":\d+$") => "address and port",
        _ if pattern.contains("[.:]") => "network, such as `10.0.0.0/8`",
        _ if pattern.contains("[0-9A-Fa-f]{64}") => "SHA-256 in hex",
        _ if pattern.contains("sqlite:") => "`sqlite:FILE`, or `postgres://…`",
        _ if pattern.starts_with("^/") => "path of a URL",
        _ => "text",
    }
}

fn default(schema: &Json) -> String {
    match &schema["default"] {
        Json::Null | Json::Object(_) => String::new(),
        value => format!("`{}`", plain(value)),
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn heading(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

/// As GitHub makes it of a heading.
fn anchor(paths: &[String]) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ');
    heading(paths).chars().filter(kept).collect::<String>().replace(' ', "-").to_lowercase()
}
