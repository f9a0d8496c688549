//! The gateway's config as YAML, with what is left to do in its comments.

use std::{fmt::Write as _, path::Path};

use super::takeover::{MDN_PATH, TakenPartner, TakenReceiver, TakenStation, Takeover};
use crate::cli::init::start::{Start, modeline};

/// The width of comments.
const WIDTH: usize = 110;

/// A document that grows line by line. What comes from OpenAS2 goes through [`quoted`] or [`YamlDocument::comment`].
struct YamlDocument(String);

// === impl Takeover ===

impl Takeover {
    /// The config, to be at `path`.
    pub(in crate::cli::init) fn config(&self, start: &Start, path: &Path) -> String {
        let mut yaml = YamlDocument(modeline("as2hook"));
        self.head(&mut yaml, path);
        self.listen(&mut yaml);
        self.receiver.render(&mut yaml);
        yaml.line("store: \"sqlite:data/as2hook.db\"\npayloads: \"data/payloads\"\nwebhooks: webhooks.yaml\n");
        if let Some(seconds) = self.mdn_wait {
            yaml.comment(
                "",
                "How long OpenAS2 waits for an MDN (as2_mdn_response_max_wait_seconds).",
            );
            yaml.line(&format!("mdn_deadline: {seconds}s\n"));
        }
        yaml.list("stations", &self.stations, |yaml, station| station.render(yaml));
        for (place, partner) in self.partners.iter().enumerate() {
            if place == 0 {
                yaml.line("partners:");
            }
            partner.render(yaml.by_ref(), place + 1, self.ports.outbound_url(&partner.as2_id));
        }
        if self.partners.is_empty() {
            yaml.line("partners: []");
        }
        yaml.line(&format!("\napi:\n{}", start.tokens()));
        yaml.0
    }

    fn head(&self, yaml: &mut YamlDocument, path: &Path) {
        let path = path.display();
        yaml.comment(
            "",
            &format!("as2hook in front of an OpenAS2, taken over from {}.", self.source.display()),
        );
        yaml.line("#");
        yaml.comment(
            "",
            &format!("  as2hook check -c {path}     finds every mistake, with its line"),
        );
        yaml.comment("", &format!("  as2hook run   -c {path}     runs the gateway"));
        yaml.line("#");
        yaml.comment("", "Keys that do not stand here have their defaults: `as2hook config` prints them, docs/configuration.md explains them.");
        for (title, items) in [
            ("TODO: what could not be taken over.", &self.todos),
            ("To change in OpenAS2:", &self.edits),
            ("Not taken over, since it stays OpenAS2's:", &self.stays),
        ] {
            if !items.is_empty() {
                yaml.line("#");
                yaml.comment("", title);
                items.iter().for_each(|item| yaml.item("", item));
            }
        }
        yaml.line("");
    }

    fn listen(&self, yaml: &mut YamlDocument) {
        let ports = &self.ports;
        yaml.line("listen:");
        yaml.comment(
            "  ",
            "Partners send here: give them this address, or let a firewall send their port here.",
        );
        yaml.line(&format!("  inbound:\n    address: \"0.0.0.0:{}\"", ports.inbound));
        if let Some((port, file)) = &self.receiver.tls {
            yaml.comment(
                "    ",
                &format!("The certificate of OpenAS2's https on port {port}, for https here:"),
            );
            yaml.line(&format!("    # tls: {{ certificate: {file}, private_key: {file} }}"));
        }
        if let Some(port) = ports.outbound {
            yaml.comment("  ", "OpenAS2 sends here, to /out/<AS2 id of the partner>.");
            yaml.line(&format!("  outbound: {{ address: \"127.0.0.1:{port}\" }}"));
        }
        yaml.line(&format!("  admin: {{ address: \"127.0.0.1:{}\" }}\n", ports.admin));
    }
}

// === impl TakenReceiver ===

impl TakenReceiver {
    fn render(&self, yaml: &mut YamlDocument) {
        yaml.line(&format!("receiver:\n  url: {}", quoted(&self.url)));
        if let Some(url) = &self.mdn_url {
            yaml.comment("  ", "OpenAS2 takes asynchronous MDNs on a port of their own.");
            yaml.line(&format!("  routes: [{{ path: {MDN_PATH}, url: {} }}]", quoted(url)));
        }
        if self.is_https {
            yaml.comment("  ", "TODO: its certificate is not checked, since it is not made for this address. Better: an \
                 AS2ReceiverModule without https, with address=\"127.0.0.1\".");
            yaml.line("  verify: false");
        }
        yaml.line("");
    }
}

// === impl TakenStation ===

impl TakenStation {
    fn render(&self, yaml: &mut YamlDocument) {
        yaml.line(&format!("  - as2_id: {}", quoted(&self.as2_id)));
        yaml.todos(&self.todos);
        if !self.keys.is_empty() {
            yaml.line("    keys:");
        }
        for file in &self.keys {
            yaml.line(&format!("      - {{ certificate: {file}, private_key: {file} }}"));
        }
    }
}

// === impl TakenPartner ===

impl TakenPartner {
    fn render(&self, yaml: &mut YamlDocument, number: usize, outbound: Option<String>) {
        yaml.line(&format!("  - as2_id: {}\n    id: {number}", quoted(&self.as2_id)));
        yaml.todos(&self.todos);
        if !self.certificates.is_empty() {
            yaml.line(&format!("    certificates: [{}]", self.certificates.join(", ")));
        }
        if let Some(url) = &self.url {
            if let Some(outbound) = outbound {
                yaml.comment(
                    "    ",
                    &format!("The as2_url of OpenAS2, which becomes {outbound} there."),
                );
            }
            yaml.line(&format!("    url: {}", quoted(url)));
        }
        if !self.is_sent_to {
            yaml.comment(
                "    ",
                "Without `url`: OpenAS2 has no as2_url for it, and sends it nothing.",
            );
        }
        if let Some(seconds) = self.timeout {
            yaml.comment("    ", "OpenAS2 waits as long (readtimeout).");
            yaml.line(&format!("    timeout: {seconds}s"));
        }
        if let Some(file) = &self.client {
            yaml.line(&format!("    tls: {{ client_certificate: {file}, client_key: {file} }}"));
        }
    }
}

// === impl YamlDocument ===

impl YamlDocument {
    fn by_ref(&mut self) -> &mut Self {
        self
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn list<T>(&mut self, key: &str, items: &[T], render: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            return self.line(&format!("{key}: []\n"));
        }
        self.line(&format!("{key}:"));
        items.iter().for_each(|item| render(self, item));
        self.line("");
    }

    fn todos(&mut self, todos: &[String]) {
        todos.iter().for_each(|todo| self.comment("    ", &format!("TODO: {todo}")));
    }

    fn item(&mut self, indent: &str, text: &str) {
        self.wrapped(indent, "#   - ", "#     ", text);
    }

    fn comment(&mut self, indent: &str, text: &str) {
        self.wrapped(indent, "# ", "# ", text);
    }

    /// A line break in a value does not end the comment.
    fn wrapped(&mut self, indent: &str, first: &str, next: &str, text: &str) {
        let mut prefix = first;
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && line.chars().count() + word.chars().count() > WIDTH {
                let _ = writeln!(self.0, "{indent}{prefix}{}", line.trim_end());
                prefix = next;
                line.clear();
            }
            word.chars().for_each(|c| match crate::log::is_control_or_direction(c) {
                true => line.extend(c.escape_default()),
                false => line.push(c),
            });
            line.push(' ');
        }
        let _ = writeln!(self.0, "{indent}{prefix}{}", line.trim_end());
    }
}

/// A value in quotes. JSON's strings are YAML's, too; `$$` stands for a `$` in the config.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value.replace('$', "$$")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_never_ends_before_its_text() {
        let mut yaml = YamlDocument(String::new());
        yaml.comment("  ", "a\nb: c\u{2028}\u{85}d");
        assert_eq!(yaml.0, "  # a\\nb: c\\u{2028}\\u{85}d\n");
    }

    #[test]
    fn long_comment_is_wrapped() {
        let mut yaml = YamlDocument(String::new());
        yaml.item("", &"word ".repeat(50));
        assert!(
            yaml.0.lines().count() > 1
                && yaml.0.lines().skip(1).all(|line| line.starts_with("#     w"))
        );
        assert!(yaml.0.lines().all(|line| line.len() < 120), "{}", yaml.0);
    }

    #[test]
    fn value_is_not_taken_for_a_variable() {
        assert_eq!(quoted("a\"${X}\n"), r#""a\"$${X}\n""#);
    }
}
