//! What the operator wants: `as2hook.yaml`, `webhooks.yaml`, and the files they name.
//!
//! [`load`] reads everything, judges everything, and gives either a whole [`Loaded`] or every
//! [`ConfigDiagnostic`] with its file, line and column. It keeps nothing between two calls: a reload is
//! another call.
//!
//! # Layout
//! - `tree`: YAML into a tree in which every node knows its place
//! - `env`: variables inside strings
//! - `read`: typed readers that note mistakes and go on
//! - `source`: the files of one load, and what was found
//! - `gateway` and beside it `listen`, `receiver`, `storage`, `stations`, `partners`, `api`,
//!   `limits`, `retention`: the document `as2hook.yaml`
//! - `webhooks`: the rules
//! - `keys`: certificates and private keys
//! - `fixed`: what cannot change while the gateway runs
//! - [`watch`]: notices that a file has changed

use std::{
    env::VarError,
    path::{Path, PathBuf},
};

mod api;
mod env;
mod fixed;
mod gateway;
mod keys;
mod limits;
mod listen;
mod mistake;
mod partners;
mod read;
mod receiver;
mod retention;
mod source;
mod stations;
mod storage;
mod tree;
pub mod watch;
mod webhooks;

use as2hook_event::RuleSet;

pub use api::{Api, ApiLanguage, TokenConfig, TokenScope};
pub use gateway::{Config, StoreFailurePolicy};
pub use limits::{Limits, Pace};
pub use listen::{Listen, Listener, ServerTls};
pub use mistake::ConfigDiagnostic;
pub use partners::{Partner, PartnerTls};
pub use read::SecretString;
pub use receiver::{Forwarded, Origin, Receiver, ReceiverRoute};
pub use retention::Retention;
pub use source::Sources;
pub use stations::Station;
pub use storage::{PayloadLocation, PostgresUrl, StoreLocation};

use read::{SourceFile, Value};
use source::Context;

/// Config and rules that were found right, whole.
#[derive(Debug)]
pub struct Loaded {
    /// The gateway's config.
    pub config: Config,
    /// The rules, compiled.
    pub rules: RuleSet,
    /// What is not wrong, but likely not meant: an expired certificate, for one.
    pub warnings: Vec<ConfigDiagnostic>,
    /// Every file and folder that a change of would give another result. Absolute, sorted.
    pub watched: Vec<PathBuf>,
    /// SHA-256 in hex over all that was read.
    pub hash: String,
}

/// One load, right or wrong.
#[derive(Debug)]
pub struct LoadAttempt {
    /// What it gave. The mistakes are sorted by file and place, and never none.
    pub outcome: Result<Loaded, Vec<ConfigDiagnostic>>,
    /// What it looked at: where a change may put a mistake right.
    pub sources: Sources,
}

/// Reads the config at `path` and all that it names.
///
/// # Errors
/// Every mistake of all files, sorted by file and place.
pub fn load(path: &Path) -> Result<Loaded, Vec<ConfigDiagnostic>> {
    attempt(path).outcome
}

/// As [`load`], and tells beside a failure which files to watch.
pub fn attempt(path: &Path) -> LoadAttempt {
    attempt_with(path, &|name| std::env::var(name))
}

/// As [`attempt`], with variables from elsewhere than the environment.
pub fn attempt_with(
    path: &Path,
    variables: &dyn Fn(&str) -> Result<String, VarError>,
) -> LoadAttempt {
    let context = Context::new(variables);
    let read = read_all(&context, path);
    let source::LoadFindings { mistakes, warnings, sources } = context.finish();
    let outcome = match read {
        Some((config, rules)) if mistakes.is_empty() => Ok(Loaded {
            config,
            rules,
            warnings,
            watched: sources.paths.clone(),
            hash: sources.hash.clone(),
        }),
        _ => Err(mistakes),
    };
    LoadAttempt { outcome, sources }
}

/// `None` leaves a mistake behind.
fn read_all(context: &Context<'_>, file: &Path) -> Option<(Config, RuleSet)> {
    let root = match context.tree(file) {
        Ok(root) => root?,
        Err(what) => {
            let at = mistake::Position::START;
            context.mistake(ConfigDiagnostic::new(file, at, "document", what));
            return None;
        }
    };
    let value = Value::root(SourceFile { context, file }, &root);
    let table = value.table(gateway::KEYS)?;
    let config = Config::read(&table, file);
    // Judged even without a config, for the sake of the mistakes.
    let path = match table.get("webhooks") {
        Some(value) => value.path()?,
        None => table.resolve("webhooks.yaml"),
    };
    let rules = match webhooks::read(context, &path, &gateway::read_site(&table)) {
        Ok(rules) => rules,
        Err(what) => {
            let message = format!("{} {what}", path.display());
            return match table.get("webhooks") {
                Some(value) => value.wrong(message),
                None => table.wrong(message),
            };
        }
    };
    if let Some(config) = &config {
        webhooks::judge_case(context, &rules, config);
        webhooks::judge_filters(context, &rules);
    }
    let rules = webhooks::compile(context, rules);
    Some((config?, rules?))
}

/// A tenant's name.
fn site(value: &Value<'_>) -> Option<String> {
    identifier(value)
}

/// An AS2 name, without the quotes that it has on the wire (RFC 4130, section 6.2).
fn as2_id(value: &Value<'_>) -> Option<String> {
    identifier(value)
}

/// What is compared as it stands: a blank at an end would never be seen, and never match.
fn identifier(value: &Value<'_>) -> Option<String> {
    let name = value.line()?;
    if name.chars().count() > 128 || name.trim() != name {
        return value.wrong("must have 128 characters at most, and no blank at its ends");
    }
    Some(name)
}

#[cfg(test)]
mod tests;
