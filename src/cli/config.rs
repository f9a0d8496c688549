//! `as2hook config` and `as2hook schema`: what is in force, and what may be written.

use std::{io::Write, path::PathBuf};

use as2hook_config::Plugins;

use super::{CommandError, in_config};

/// Prints the config and the rules that are in force as YAML, defaults included. Secrets are shown as `***`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowConfig {
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
}

/// Prints the JSON Schema of a config file, for editors.
#[derive(Clone, Debug, clap::Args)]
pub struct Schema {
    /// The file that the schema is for.
    #[arg(value_enum, default_value = "config")]
    pub document: Document,
}

/// A file with a schema of its own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Document {
    /// as2hook.yaml
    Config,
    /// webhooks.yaml
    #[value(alias = "rules")]
    Webhooks,
}

// === impl ShowConfig ===

impl ShowConfig {
    /// The YAML goes to `out`.
    ///
    /// # Errors
    /// When the config has mistakes, or `out` cannot be written to.
    pub fn run(&self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let yaml =
            as2hook_config::render(&self.config, plugins).map_err(in_config(&self.config))?;
        Ok(out.write_all(yaml.as_bytes())?)
    }
}

// === impl Schema ===

impl Schema {
    /// # Errors
    /// When `out` cannot be written to.
    pub fn run(&self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let schema = match self.document {
            Document::Config => as2hook_config::schema(),
            Document::Webhooks => as2hook_config::webhooks_schema(plugins),
        };
        Ok(writeln!(out, "{:#}", schema.as_value())?)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitCode};

    use super::{super::exit, *};

    fn show(gateway: &str) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(&config, gateway).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), "webhooks: []\n").unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = ShowConfig { config }.run(&Plugins::default(), &mut out);
        let code = exit(done, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn config_is_printed_with_its_defaults() {
        let (code, out, err) = show("receiver: { url: \"http://127.0.0.1:10080\" }\ndrain: 90s\n");
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        for line in ["site: main\n", "drain: 90s\n", "  cpu: 1s\n", "---\nwebhooks: []\n"] {
            assert!(out.contains(line), "{line} is not in\n{out}");
        }
    }

    #[test]
    fn config_with_a_mistake_is_not_printed() {
        let (code, out, err) = show("receiver: {}\n");
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.ends_with("receiver: the key `url` is missing\n"), "{out}");
        assert!(err.contains("one mistake"), "{err}");
    }

    #[test]
    fn schema_is_of_the_document_that_is_asked_for() {
        for (document, title) in
            [(Document::Config, "as2hook.yaml"), (Document::Webhooks, "webhooks.yaml")]
        {
            let mut out = Vec::new();
            Schema { document }.run(&Plugins::default(), &mut out).unwrap();
            let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(schema["title"], title);
        }
    }
}
