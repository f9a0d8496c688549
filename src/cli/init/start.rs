//! What each new config has: the shipped one with secrets, a first webhook and the schemas for editors.

use std::path::Path;

use as2hook_config::Plugins;
use openssl::sha::sha256;

use super::{NewFiles, printable};
use crate::cli::{CommandError, secret};

/// The token of the admin API.
pub(super) const TOKEN: &str = "admin.token";
/// The secret of the first webhook.
pub(super) const SECRET: &str = "webhook.secret";

/// The files that are explained key by key.
const SHIPPED_CONFIG: &str = include_str!("../../../conf/as2hook.yaml");
const SHIPPED_WEBHOOKS: &str = include_str!("../../../conf/webhooks.yaml");

const NO_TOKENS: &str = "  # Access to the APIs: none, until a token stands here.\n  tokens: []\n";
const NO_WEBHOOKS: &str = "\nwebhooks: []\n";

/// A rule that works without any other change.
const FIRST_WEBHOOK: &str = r#"
webhooks:
  # Every event goes to `as2hook listen` on this machine. Put your own endpoint's URL here: what waits is delivered to it.
  - name: first
    url: "http://127.0.0.1:8090/"
    events: ["*"]
    payload: json
    secret_file: webhook.secret
"#;

/// What a config refers to.
pub(super) struct Start {
    token_digest: String,
}

/// Adds the token, the webhook and its secret, and the schemas.
///
/// # Errors
/// When the system has no random bytes.
pub(super) fn add_common(
    files: &mut NewFiles<'_>,
    plugins: &Plugins,
) -> Result<Start, CommandError> {
    let token = as2hook_as2::hex::encode(&secret::random()?);
    files.add(TOKEN, format!("{token}\n"));
    files.add(SECRET, format!("{}\n", secret::generate()?));
    let webhooks = SHIPPED_WEBHOOKS.replacen(NO_WEBHOOKS, FIRST_WEBHOOK, 1);
    files.add("webhooks.yaml", format!("{}{webhooks}", modeline("webhooks")));
    for (name, schema) in [
        ("as2hook", as2hook_config::schema()),
        ("webhooks", as2hook_config::webhooks_schema(plugins)),
    ] {
        files.add(&schema_file(name), format!("{:#}\n", schema.as_value()));
    }
    Ok(Start { token_digest: as2hook_as2::hex::encode(&sha256(token.as_bytes())) })
}

// === impl Start ===

impl Start {
    /// The shipped config, to be at `path`.
    pub(super) fn config(&self, path: &Path) -> String {
        let path = printable(&path.display().to_string());
        let config = SHIPPED_CONFIG
            .replacen(NO_TOKENS, &self.tokens(), 1)
            .replace("-c conf/as2hook.yaml", &format!("-c {path}"));
        format!("{}{config}", modeline("as2hook"))
    }

    /// `api.tokens` with its one token.
    pub(super) fn tokens(&self) -> String {
        format!(
            "  # The token stands in {TOKEN}, which the gateway does not read: keep it where you keep passwords.\n  \
             tokens:\n    - {{ name: admin, sha256: \"{}\", scopes: [read, write, admin] }}\n",
            self.token_digest
        )
    }
}

/// The line by which yaml-language-server finds the schema.
pub(super) fn modeline(schema: &str) -> String {
    format!("# yaml-language-server: $schema={}\n", schema_file(schema))
}

fn schema_file(name: &str) -> String {
    format!("schemas/{name}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files_have_the_places_for_token_and_webhook() {
        assert_eq!(SHIPPED_CONFIG.matches(NO_TOKENS).count(), 1);
        assert_eq!(SHIPPED_WEBHOOKS.matches(NO_WEBHOOKS).count(), 1);
        assert!(SHIPPED_CONFIG.contains("-c conf/as2hook.yaml"));
    }
}
