//! OpenAS2's properties, and the references to them in values.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    path::Path,
};

use super::xml::{self, Attributes, SourceError, XmlElement};

/// What values may refer to.
#[derive(Debug, Default)]
pub(super) struct Properties {
    /// The folder of config.xml, for `%home%`.
    home: String,
    values: HashMap<String, String>,
    /// References that lead nowhere.
    undefined: BTreeSet<String>,
}

/// References within references that are followed; a loop ends here.
const MAX_DEPTH: usize = 16;
/// By how many bytes a value may grow in all.
const MAX_GROWTH: usize = 64 * 1024;

// === impl Properties ===

impl Properties {
    pub(super) fn new(home: &Path) -> Self {
        Self { home: home.display().to_string(), ..Self::default() }
    }

    /// Takes each attribute of `<properties>`.
    pub(super) fn add_element(&mut self, element: &XmlElement) {
        self.values.extend(element.attributes.iter().cloned());
    }

    /// Takes a file in Java's syntax; it wins over what is there.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), SourceError> {
        let text = xml::latin1(&xml::read_bytes(path)?);
        for (key, value) in parse(&text) {
            let value = self.parsed(&value);
            self.values.insert(key, value);
        }
        Ok(())
    }

    pub(super) fn get(&mut self, name: &str) -> Option<String> {
        let value = self.values.get(name)?.clone();
        Some(self.resolve(&value, &Attributes::new()))
    }

    /// The first layer: what OpenAS2 replaces as it parses a file.
    pub(super) fn parsed(&mut self, value: &str) -> String {
        let value = value.replace("%home%", &self.home);
        replace(&value, "$ENV{", "}", |name| match env::var(name) {
            Ok(value) => Some(value),
            Err(_) => {
                self.undefined.insert(format!("$ENV{{{name}}}"));
                None
            }
        })
    }

    /// The second: `$properties.x$`, and `$attribute.y$` of `siblings`. What OpenAS2 computes for each message
    /// stays as it is.
    pub(super) fn resolve(&mut self, value: &str, siblings: &Attributes) -> String {
        self.expand(value, siblings, 0, &mut { MAX_GROWTH })
    }

    fn expand(
        &mut self,
        value: &str,
        siblings: &Attributes,
        depth: usize,
        room: &mut usize,
    ) -> String {
        if depth == MAX_DEPTH || !value.contains('$') {
            return value.to_owned();
        }
        let value = replace(value, "$properties.", "$", |name| {
            let Some(text) = self.values.get(name).cloned() else {
                self.undefined.insert(format!("$properties.{name}$"));
                return None;
            };
            take(room, &text)?;
            Some(self.expand(&text, siblings, depth + 1, room))
        });
        replace(&value, "$attribute.", "$", |name| {
            let text = xml::attribute(siblings, name)?.to_owned();
            take(room, &text)?;
            Some(self.expand(&text, siblings, depth + 1, room))
        })
    }

    /// What was referred to and is nowhere.
    pub(super) fn undefined(&self) -> impl Iterator<Item = &str> {
        self.undefined.iter().map(String::as_str)
    }
}

/// Takes the room of a text, or leaves its reference as it stands. An empty text costs something, too: it takes time.
fn take(room: &mut usize, text: &str) -> Option<()> {
    *room = room.checked_sub(text.len() + 1)?;
    Some(())
}

/// Replaces each `begin` name `end`, where `find` knows the name. An open reference is text.
fn replace(
    value: &str,
    begin: &str,
    end: &str,
    mut find: impl FnMut(&str) -> Option<String>,
) -> String {
    let (mut done, mut rest) = (String::new(), value);
    while let Some(start) = rest.find(begin) {
        let behind = &rest[start + begin.len()..];
        let Some(length) = behind.find(end) else { break };
        done.push_str(&rest[..start]);
        match find(&behind[..length]) {
            Some(text) => done.push_str(&text),
            None => done.push_str(&rest[start..start + begin.len() + length + end.len()]),
        }
        rest = &behind[length + end.len()..];
    }
    done + rest
}

/// Java's syntax: `key=value`, `key: value` or `key value`, comments behind `#` or `!`, lines that go on behind `\`.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while goes_on(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next);
        }
        let mut is_escaped = false;
        let end = logical.find(|c: char| {
            let ends = !is_escaped && (matches!(c, '=' | ':') || c.is_ascii_whitespace());
            is_escaped = !is_escaped && c == '\\';
            ends
        });
        let (key, rest) = logical.split_at(end.unwrap_or(logical.len()));
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        found.push((unescape(key), unescape(rest)));
    }
    found
}

/// Whether an odd number of backslashes stands at the end.
fn goes_on(line: &str) -> bool {
    !(line.len() - line.trim_end_matches('\\').len()).is_multiple_of(2)
}

fn unescape(text: &str) -> String {
    let (mut done, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            done.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => done.push('\n'),
            Some('r') => done.push('\r'),
            Some('t') => done.push('\t'),
            Some('f') => done.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                done.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => done.push(other),
            None => {}
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::new(Path::new("/opt/openas2/config"));
        let element = XmlElement {
            attributes: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..XmlElement::default()
        };
        properties.add_element(&element);
        properties
    }

    #[test]
    fn references_are_resolved_within_each_other() {
        let mut properties = with(&[("port", "$properties.base$80"), ("base", "100")]);
        let siblings = vec![("host".to_owned(), "as2.example".to_owned())];
        let resolved =
            properties.resolve("http://$attribute.host$:$properties.port$/$date.now$", &siblings);
        assert_eq!(resolved, "http://as2.example:10080/$date.now$");
        assert_eq!(properties.parsed("%home%/as2_certs.p12"), "/opt/openas2/config/as2_certs.p12");
        assert_eq!(properties.undefined().count(), 0);
    }

    #[test]
    fn undefined_reference_stays_and_is_reported() {
        let mut properties = with(&[]);
        assert_eq!(properties.resolve("a$properties.x$b", &Vec::new()), "a$properties.x$b");
        assert_eq!(properties.parsed("$ENV{AS2HOOK_IS_NEVER_SET}"), "$ENV{AS2HOOK_IS_NEVER_SET}");
        let undefined: Vec<_> = properties.undefined().collect();
        assert_eq!(undefined, ["$ENV{AS2HOOK_IS_NEVER_SET}", "$properties.x$"]);
    }

    #[test]
    fn reference_without_its_end_is_text() {
        assert_eq!(with(&[("x", "1")]).resolve("$properties.x", &Vec::new()), "$properties.x");
    }

    #[test]
    fn loop_of_references_ends() {
        let mut properties = with(&[("a", "$properties.b$"), ("b", "$properties.a$")]);
        assert!(properties.resolve("$properties.a$", &Vec::new()).starts_with("$properties."));
    }

    #[test]
    fn growing_references_are_bounded() {
        let twice = |name: &str| format!("$properties.{name}$").repeat(64);
        let values: Vec<_> = (0..12)
            .map(|n| {
                (
                    format!("p{n}"),
                    if n == 11 { "x".repeat(1000) } else { twice(&format!("p{}", n + 1)) },
                )
            })
            .collect();
        let values: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let resolved = with(&values).resolve("$properties.p0$", &Vec::new());
        assert!(resolved.len() < 2 * MAX_GROWTH, "{}", resolved.len());
    }

    #[test]
    fn java_syntax_is_read() {
        let text = "# a comment\n! another\n\na=1\nb : two words \\\n   go on\nc\\:d e\nu=M\\u00fcller\\\\\nempty\n";
        let expected = [
            ("a", "1"),
            ("b", "two words go on"),
            ("c:d", "e"),
            ("u", "M\u{fc}ller\\"),
            ("empty", ""),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parse(text), expected);
    }
}
