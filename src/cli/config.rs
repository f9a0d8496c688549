//! `as2hook config` and `as2hook schema`: what is in force, and what may be written.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::tell;

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
    Webhooks,
}

// === impl ShowConfig ===

impl ShowConfig {
    /// The YAML goes to `out`; instead of it, the mistakes. Fails when there is any.
    ///
    /// # Errors
    /// When `out` or `err` cannot be written to.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
        match as2hook_config::render(&self.config) {
            Ok(yaml) => {
                out.write_all(yaml.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Err(mistakes) => {
                tell(&mistakes, &self.config, out, err)?;
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

// === impl Schema ===

impl Schema {
    /// # Errors
    /// When `out` cannot be written to.
    pub fn run(&self, out: &mut dyn Write) -> io::Result<ExitCode> {
        let schema = match self.document {
            Document::Config => as2hook_config::schema(),
            Document::Webhooks => as2hook_config::webhooks_schema(),
        };
        writeln!(out, "{:#}", schema.as_value())?;
        Ok(ExitCode::SUCCESS)
    }
}
