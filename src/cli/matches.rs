//! `as2hook match`: which webhooks would fire, and why.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use as2hook_webhooks::{EventKind, PartnerType, Query};

use super::tell;
use crate::config::{self, Loaded};

/// Prints which webhooks an event would fire, and why, most specific first.
#[derive(Clone, Debug, clap::Args)]
pub struct Match {
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
    /// The event, such as message.received.
    #[arg(long)]
    pub event: EventKind,
    /// AS2 id of the remote side, in both directions. Left out: the event has none.
    #[arg(long, value_name = "AS2_ID")]
    pub partner: Option<String>,
    /// AS2 id of our side, in both directions. Left out: the event has none.
    #[arg(long, value_name = "AS2_ID")]
    pub station: Option<String>,
    /// The tenant. Left out: the partner's, else the gateway's.
    #[arg(long)]
    pub site: Option<String>,
    /// Production or Test. Left out: what the config says of the partner, else Production.
    #[arg(long, value_name = "TYPE", value_parser = partner_type)]
    pub partner_type: Option<PartnerType>,
}

// === impl Match ===

impl Match {
    /// The webhooks that fire go to `out`, one on a line; those that come near and do not, to `err`.
    ///
    /// # Errors
    /// When `out` or `err` cannot be written to.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
        let loaded = match config::load(&self.config) {
            Ok(loaded) => loaded,
            Err(mistakes) => {
                tell(&mistakes, &self.config, out, err)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let explanations = loaded.rules.explain(&self.query(&loaded));
        let (fire, near): (Vec<_>, Vec<_>) =
            explanations.iter().partition(|one| one.outcome.fires());
        for one in &fire {
            writeln!(out, "{one}")?;
        }
        if fire.is_empty() {
            writeln!(err, "No webhook fires.")?;
        }
        for one in near {
            writeln!(err, "{one}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn query<'a>(&'a self, loaded: &'a Loaded) -> Query<'a> {
        let partner = self.partner.as_deref().and_then(|id| loaded.config.partner(id));
        let site = partner.map_or(&loaded.config.site, |partner| &partner.site);
        Query {
            event: self.event,
            site: self.site.as_ref().unwrap_or(site),
            partner: self.partner.as_deref(),
            station: self.station.as_deref(),
            partner_type: self
                .partner_type
                .or(partner.map(|partner| partner.partner_type))
                .unwrap_or_default(),
        }
    }
}

fn partner_type(word: &str) -> Result<PartnerType, String> {
    let all = [PartnerType::Production, PartnerType::Test];
    let found = all.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word));
    found.ok_or_else(|| "the types are Production and Test".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Match,
    }

    const GATEWAY: &str = r#"
receiver: { url: "http://127.0.0.1:10080" }
partners: [{ as2_id: TRIAL, type: Test }, { as2_id: FAR, site: other }]
"#;
    const RULES: &str = r#"
webhooks:
  - { name: all, url: "http://127.0.0.1/", events: ["*"] }
  - { name: acme, url: "http://127.0.0.1/", partner: ACME }
  - { name: log, url: "http://127.0.0.1/", events: ["*"], route: always }
  - { name: trial, url: "http://127.0.0.1/", partner_type: Test }
  - { name: far, url: "http://127.0.0.1/", site: other }
"#;

    /// The names of the rules that fire, and everything else that was said.
    fn fired(arguments: &str) -> (Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(&config, GATEWAY).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), RULES).unwrap();
        let words = ["match", "-c", config.to_str().unwrap()];
        let line = Line::try_parse_from(words.into_iter().chain(arguments.split(' '))).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(line.command.run(&mut out, &mut err).unwrap(), ExitCode::SUCCESS);
        let out = String::from_utf8(out).unwrap();
        let names = out.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        (names, String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_most_specific_and_what_fires_besides() {
        let (names, near) = fired("--event message.received --partner ACME --station WE");
        assert_eq!(names, ["acme", "log"]);
        assert!(near.contains("all: does not fire: \"acme\" is more specific"), "{near}");
        assert_eq!(fired("--event mdn.sent --partner ACME --station WE").0, ["all", "log"]);
    }

    #[test]
    fn the_config_knows_the_partner() {
        assert_eq!(fired("--event message.received --partner TRIAL").0, ["trial", "log"]);
        assert_eq!(
            fired("--event message.received --partner TRIAL --partner-type production").0,
            ["all", "log"]
        );
        assert_eq!(fired("--event message.received --partner FAR").0, ["far"]);
    }

    #[test]
    fn says_when_none_fires() {
        let (names, near) = fired("--event mdn.sent --site other");
        assert!(names.is_empty());
        assert!(near.starts_with("No webhook fires.\nfar: does not fire: it does not subscribe"));
    }

    #[test]
    fn an_unknown_event_lists_the_events() {
        let error = Line::try_parse_from(["match", "--event", "message.recieved"]).err().unwrap();
        assert!(error.to_string().contains("the events are message.received, mdn.received"));
    }
}
