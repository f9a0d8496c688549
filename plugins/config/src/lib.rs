//! What the operator wants: `as2hook.yaml`, `webhooks.yaml`, and the files they name.
//!
//! [`load`] reads everything, judges everything, and gives either a whole [`Loaded`] or every
//! [`ConfigDiagnostic`] with its file, line and column. It keeps nothing between two calls: a reload is
//! another call.
//!
//! # Layout
//! - `gateway` and beside it `listen`, `receiver`, `storage`, `partners`, `api`, `limits`: the document
//!   `as2hook.yaml`, as structs that serde reads and writes, and schemars describes; what of it cannot change
//!   while the gateway runs
//! - `webhooks`: the rules, and those that cannot fire
//! - `setting`: how single values are written
//! - `plugins`: the formats and sinks that rules may name
//! - `section`: mappings, through serde, with all mistakes in them
//! - `value`: a node and its place
//! - `tree`: YAML into a tree in which every node knows its place
//! - `diagnostic`: a mistake with its file, line and column
//! - `env`: variables inside strings
//! - `source`: the files of one load, and what was found
//! - `keys`: certificates and private keys
//! - [`watch`]: notices that a file has changed

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

use std::{env::VarError, path::Path, rc::Rc};

mod api;
mod diagnostic;
mod env;
mod gateway;
mod keys;
mod limits;
mod listen;
mod partners;
mod plugins;
mod receiver;
mod section;
mod setting;
mod source;
mod storage;
mod tree;
mod value;
pub mod watch;
mod webhooks;

use as2hook_event::{KeptAttachments, RuleSet};
use schemars::Schema;

pub use api::{Api, ApiLanguage, TokenConfig, TokenScope};
pub use diagnostic::ConfigDiagnostic;
pub use gateway::{Config, StoreFailurePolicy};
pub use keys::{CertificateFile, Pkcs12Error, PrivateKeyFile, open_pkcs12};
pub use limits::{Limits, Pace, Retention};
pub use listen::{Listen, Listener, ServerTls};
pub use partners::{Partner, PartnerTls, Station};
pub use plugins::Plugins;
pub use receiver::{Forwarded, Origin, Receiver, ReceiverRoute};
pub use source::Sources;
pub use storage::{PayloadLocation, PostgresUrl, StoreLocation};
pub use value::FromFile;

use setting::{Identifier, Setting as _, Word};
use source::Context;

use value::Value;
use webhooks::{Placed, RuleDefaults, RulesFile, warnings};

/// Config and rules that were found right, whole.
#[derive(Debug)]
pub struct Loaded {
    /// The gateway's config.
    pub config: Config,
    /// The rules, compiled.
    pub rules: RuleSet,
    /// SHA-256 in hex over all that was read.
    pub hash: String,
}

/// One load, right or wrong.
#[derive(Debug)]
pub struct LoadAttempt {
    /// What it gave. The mistakes are sorted by file and place, and never none.
    pub outcome: Result<Loaded, Vec<ConfigDiagnostic>>,
    /// What is not wrong, but cannot work or is likely not meant, sorted alike. With any mistake, rules are not
    /// looked at: what they name may be part of it.
    pub warnings: Vec<ConfigDiagnostic>,
    /// What it looked at: where a change may put a mistake right.
    pub sources: Sources,
}

/// Reads the config at `path` and all that it names.
///
/// # Errors
/// Every mistake of all files, sorted by file and place.
pub fn load(path: &Path, plugins: &Plugins) -> Result<Loaded, Vec<ConfigDiagnostic>> {
    attempt(path, plugins).outcome
}

/// As [`load`], and reports beside a failure which files to watch.
pub fn attempt(path: &Path, plugins: &Plugins) -> LoadAttempt {
    attempt_with(path, plugins, |name| std::env::var(name))
}

/// As [`attempt`], with variables from elsewhere than the environment.
pub fn attempt_with(
    path: &Path,
    plugins: &Plugins,
    variables: impl Fn(&str) -> Result<String, VarError> + 'static,
) -> LoadAttempt {
    let context = Context::new(variables, plugins.clone());
    let read = read_all(&context, path).and_then(|(config, rules)| {
        let (rules, places) = webhooks::compile(rules)?;
        if context.mistakes() == 0 {
            warnings::judge(&config, &rules, &places);
        }
        Some((config, rules))
    });
    let (mistakes, warnings, sources) = context.finish();
    let outcome = match read {
        Some((config, rules)) if mistakes.is_empty() => {
            Ok(Loaded { config, rules, hash: sources.hash.clone() })
        }
        _ => Err(mistakes),
    };
    LoadAttempt { outcome, warnings, sources }
}

/// What is in force with the config at `path`, defaults included, as two YAML documents: the config and the
/// rules. Secrets are not shown.
///
/// # Errors
/// As [`load`].
pub fn render(path: &Path, plugins: &Plugins) -> Result<String, Vec<ConfigDiagnostic>> {
    load(path, plugins)?;
    let context = Context::new(|name| std::env::var(name), plugins.clone());
    let read = read_all(&context, path);
    let text = read.map(|(config, webhooks)| {
        format!("{}---\n{}", section::to_yaml(&config), section::to_yaml(&RulesFile { webhooks }))
    });
    text.ok_or_else(|| context.finish().0)
}

/// A config as YAML, as [`render`] prints it: the one in memory, whatever its file says by now.
pub fn to_yaml(config: &Config) -> String {
    section::to_yaml(config)
}

/// The JSON Schema of `as2hook.yaml`.
pub fn schema() -> Schema {
    section::schema::<Config>()
}

/// The JSON Schema of `webhooks.yaml`.
pub fn webhooks_schema(plugins: &Plugins) -> Schema {
    let mut schema = section::schema::<RulesFile>();
    plugins.describe(&mut schema);
    schema
}

/// `None` leaves a mistake behind.
fn read_all(context: &Rc<Context>, file: &Path) -> Option<(Config, Vec<Placed>)> {
    let root = match context.tree(file) {
        Ok(root) => Value::root(context, file, root?),
        Err(what) => {
            let at = diagnostic::Position::START;
            context.mistake(ConfigDiagnostic::new(file, at, "document", what));
            return None;
        }
    };
    root.entries()?;
    let config = root.section::<Config>();
    // Judged even without a config, for the sake of the mistakes.
    let path = match root.get("webhooks") {
        Some(value) => value.resolve(value.line()?),
        None => root.resolve("webhooks.yaml"),
    };
    let site = root.get("site").and_then(|site| Identifier::read(&site));
    let site = site.unwrap_or_else(gateway::main_site);
    let keep = root.get("keep").and_then(|keep| Word::<KeptAttachments>::read(&keep));
    let defaults = RuleDefaults { site: &site, keep: keep.unwrap_or_default() };
    let rules = match webhooks::read(context, &path, defaults) {
        Ok(rules) => rules,
        Err(what) => {
            let place = root.get("webhooks").unwrap_or(root);
            return place.wrong(format!("{} {what}", path.display()));
        }
    };
    Some((config?, rules))
}

#[cfg(test)]
mod tests;
