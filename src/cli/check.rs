//! `as2hook check`: finds every mistake in the config, the keys and the rules.

use std::{io::Write, path::PathBuf};

use as2hook_config::{Loaded, Plugins};

use super::{CommandError, in_config, load};

/// Loads config, keys and rules, and prints every mistake with its file, line and column.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
}

// === impl Check ===

impl Check {
    /// The summary goes to `out`, warnings to `err`.
    ///
    /// # Errors
    /// When there is any mistake, or `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let loaded = load(&self.config, plugins)?;
        let unsupported = loaded.config.unsupported();
        if !unsupported.is_empty() {
            return Err(in_config(&self.config)(unsupported));
        }
        for warning in &loaded.warnings {
            writeln!(err, "warning: {warning}")?;
        }
        writeln!(out, "{} is right: {}.", self.config.display(), summary(&loaded))?;
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

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitCode};

    use super::{super::exit, *};

    fn check(gateway: &str, rules: &str) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(&config, gateway).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), rules).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = Check { config }.run(&Plugins::default(), &mut out, &mut err);
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
