//! `as2hook check`: finds every mistake in the config, the keys and the rules.

use std::{io::Write, path::PathBuf};

use as2hook_config::{ConfigDiagnostic, Loaded, Plugins};
use serde::Serialize;

use super::{CommandError, count, in_config};

/// Loads config, keys and rules, and prints every mistake with its file, line and column, and what cannot work.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
    /// Warnings count too: exit status 1.
    #[arg(long)]
    pub strict: bool,
    /// Prints mistakes and warnings as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints. `docs/operating.md` has its keys.
#[derive(Serialize)]
struct CheckReport<'a> {
    mistakes: &'a [ConfigDiagnostic],
    warnings: &'a [ConfigDiagnostic],
}

// === impl Check ===

impl Check {
    /// The summary or the JSON goes to `out`, warnings to `err`.
    ///
    /// # Errors
    /// When there is any mistake, with `strict` any warning, or `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let attempt = as2hook_config::attempt(&self.config, plugins);
        let warnings = attempt.warnings;
        let checked = attempt.outcome.and_then(|loaded| match loaded.config.unsupported() {
            unsupported if unsupported.is_empty() => Ok(loaded),
            unsupported => Err(unsupported),
        });
        if self.json {
            let mistakes = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
            serde_json::to_writer(&mut *out, &CheckReport { mistakes, warnings: &warnings })
                .map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            for warning in &warnings {
                writeln!(err, "warning: {warning}")?;
            }
        }
        let loaded = match checked.map_err(in_config(&self.config)) {
            Ok(loaded) => loaded,
            // Its mistakes stand in the JSON.
            Err(error) if self.json => return Err(CommandError::Failed(error.to_string())),
            Err(error) => return Err(error),
        };
        let config = self.config.display();
        if self.strict && !warnings.is_empty() {
            let counts = if warnings.len() == 1 { "counts" } else { "count" };
            let warnings = count(warnings.len(), "warning");
            let what = format!("{config} has {warnings}, which {counts} with --strict");
            return Err(CommandError::Failed(what));
        }
        if !self.json {
            writeln!(out, "{config} is right: {}.", summary(&loaded))?;
        }
        Ok(())
    }
}

fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let listens = config.listen.addresses().map(|(name, address)| format!("{name} on {address}"));
    let listens: Vec<_> = listens.collect();
    let routes = config.receiver.routes.iter().map(|route| {
        let origins: Vec<_> = route.origins.iter().map(ToString::to_string).collect();
        format!("; {} goes to {}", route.path, origins.join(", "))
    });
    format!(
        "{}, {}, {}; {}{}",
        count(config.stations.len(), "station"),
        count(config.partners.len(), "partner"),
        count(loaded.rules.iter().len(), "webhook"),
        listens.join(", "),
        routes.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitCode};

    use super::{super::exit, *};

    fn check(gateway: &str, rules: &str) -> (ExitCode, String, String) {
        check_with(gateway, rules, false, false)
    }

    fn check_with(
        gateway: &str,
        rules: &str,
        strict: bool,
        json: bool,
    ) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(&config, gateway).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), rules).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = Check { config, strict, json }.run(&Plugins::default(), &mut out, &mut err);
        let code = exit(done, &mut out, &mut err);
        let shown = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(folder.path().to_str().unwrap(), "conf")
        };
        (code, shown(out), shown(err))
    }

    #[test]
    fn says_what_is_right_in_one_line() {
        let (code, out, err) = check(
            "receiver: { url: \"http://127.0.0.1:10080\" }\nstations: [{ as2_id: WE }]\n",
            "webhooks: [{ name: a, url: \"http://127.0.0.1/\" }]\n",
        );
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(
            out,
            "conf/as2hook.yaml is right: 1 station, 0 partners, 1 webhook; inbound on \
             0.0.0.0:8080, admin on 127.0.0.1:8081.\n"
        );
        assert_eq!(err, "");
    }

    #[test]
    fn check_shows_the_routes_of_the_receiver() {
        let (_, out, _) = check(
            "receiver: { url: \"http://127.0.0.1:10080\",\n  routes: [{ path: /mdn/, url: [\"http://a:10081\", \
             \"http://b:10081\"] }] }\n",
            "webhooks: []\n",
        );
        assert!(out.ends_with("; /mdn goes to http://a:10081, http://b:10081.\n"), "{out}");
    }

    const RECEIVER: &str = "receiver: { url: \"http://127.0.0.1:10080\" }\n";
    const RULE_OF_A_STRANGER: &str =
        "webhooks: [{ name: a, url: \"http://127.0.0.1/\", partner: ACME }]\n";

    #[test]
    fn warning_is_printed_and_counts_with_strict_alone() {
        let what = "warning: conf/webhooks.yaml:1:58: webhooks[0].partner: `partners` of the config \
                    has no \"ACME\"; add it there, or put the AS2 id right\n";
        let (code, out, err) = check(RECEIVER, RULE_OF_A_STRANGER);
        assert_eq!((code, &*err), (ExitCode::SUCCESS, what));
        assert!(out.contains("is right"), "{out}");

        let (code, out, err) = check_with(RECEIVER, RULE_OF_A_STRANGER, true, false);
        let end = "as2hook: conf/as2hook.yaml has 1 warning, which counts with --strict\n";
        assert_eq!((code, &*out, err), (ExitCode::FAILURE, "", format!("{what}{end}")));

        let (code, ..) = check_with(RECEIVER, "webhooks: []\n", true, false);
        assert_eq!(code, ExitCode::SUCCESS);
    }

    #[test]
    fn json_has_mistakes_and_warnings_with_their_places() {
        let (code, out, err) = check_with(RECEIVER, RULE_OF_A_STRANGER, false, true);
        assert_eq!((code, &*err), (ExitCode::SUCCESS, ""));
        assert_eq!(
            out,
            "{\"mistakes\":[],\"warnings\":[{\"file\":\"conf/webhooks.yaml\",\"line\":1,\"column\":58,\
             \"path\":\"webhooks[0].partner\",\"message\":\"`partners` of the config has no \\\"ACME\\\"; \
             add it there, or put the AS2 id right\"}]}\n"
        );
        let (code, out, err) = check_with("receiver: {}\n", "webhooks: []\n", false, true);
        assert_eq!(
            (code, &*out, &*err),
            (
                ExitCode::FAILURE,
                "{\"mistakes\":[{\"file\":\"conf/as2hook.yaml\",\"line\":1,\"column\":11,\
                 \"path\":\"receiver\",\"message\":\"the key `url` is missing\"}],\"warnings\":[]}\n",
                "as2hook: conf/as2hook.yaml cannot be used: it has one mistake\n"
            )
        );
    }

    #[test]
    fn prints_every_mistake_of_every_file() {
        let (code, out, err) =
            check("receiver: {}\ndrain: 20\n", "webhooks:\n  - name: a\n    ulr: \"http://x/\"\n");
        assert_eq!(code, ExitCode::FAILURE);
        assert_eq!(
            out,
            "conf/as2hook.yaml:1:11: receiver: the key `url` is missing\n\
             conf/as2hook.yaml:2:8: drain: must be a duration with its unit, such as 500ms, 15s, \
             5m, 24h or 7d\n\
             conf/webhooks.yaml:2:5: webhooks[0]: the key `url` is missing\n\
             conf/webhooks.yaml:3:5: webhooks[0].ulr: unknown key; did you mean `url`?\n"
        );
        assert_eq!(err, "conf/as2hook.yaml cannot be used: it has 4 mistakes.\n");
    }
}
