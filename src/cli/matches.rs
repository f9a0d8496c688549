//! `as2hook match`: which webhooks would fire, and why.

use std::{io::Write, path::PathBuf};

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_config::{Loaded, Plugins};
use as2hook_event::{EventKind, Findings, Outcome, PartnerType, Query};

use super::{CommandError, load};

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
    /// A type of its EDI documents, such as 850, ORDERS or EDIFACT:ORDERS; once for each, in their order; none for a
    /// message without any. Left out: as for --signature.
    #[arg(long, value_name = "TYPE")]
    pub document: Vec<String>,
    /// The status of its signature, such as valid; none when it was not judged. Left out: the filters
    /// that have to hold are printed.
    #[arg(long, value_name = "STATUS", value_parser = signature)]
    pub signature: Option<Signature>,
    /// Its processing errors: none, any, or codes such as 800,900. Left out: as for --signature.
    #[arg(long, value_name = "CODES", value_parser = errors)]
    pub errors: Option<Errors>,
}

/// What `--signature` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(Option<SignatureStatus>);

/// What `--errors` says. `None`: there are some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Option<Vec<ErrorCode>>);

// === impl Match ===

impl Match {
    /// The webhooks that fire or may fire go to `out`, one on a line; those that come near and do not,
    /// to `err`.
    ///
    /// # Errors
    /// When the config has mistakes, or `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let loaded = load(&self.config, plugins)?;
        let explanations = loaded.rules.explain(&self.query(&loaded), &self.findings());
        let (fire, near): (Vec<_>, Vec<_>) =
            explanations.iter().partition(|one| one.outcome != Outcome::DoesNotFire);
        for one in &fire {
            writeln!(out, "{one}")?;
        }
        if fire.is_empty() {
            writeln!(err, "No webhook fires.")?;
        }
        for one in near {
            writeln!(err, "{one}")?;
        }
        Ok(())
    }

    fn findings(&self) -> Findings {
        let findings = match self.signature {
            None => Findings::default(),
            Some(Signature(status)) => Findings::default().signature(status),
        };
        let findings = match self.document.as_slice() {
            [] => findings,
            [none] if none == "none" => findings.documents(Vec::new()),
            types => findings.documents(types.iter().flat_map(|of| of.parse()).collect()),
        };
        match &self.errors {
            None => findings,
            Some(Errors(None)) => findings.some_errors(),
            Some(Errors(Some(codes))) => findings.errors(codes.iter().copied()),
        }
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

fn signature(word: &str) -> Result<Signature, String> {
    if word == "none" {
        return Ok(Signature(None));
    }
    let found = SignatureStatus::ALL.into_iter().find(|status| status.as_str() == word);
    let list = SignatureStatus::ALL.map(SignatureStatus::as_str).join(", ");
    found.map(|status| Signature(Some(status))).ok_or(format!("it is none or one of {list}"))
}

fn errors(words: &str) -> Result<Errors, String> {
    let code = |word: &str| {
        let number = word
            .trim()
            .parse::<u16>()
            .map_err(|_| format!("\"{word}\" is none of: none, any, codes such as 800,900"))?;
        ErrorCode::try_from(number)
    };
    match words {
        "none" => Ok(Errors(Some(Vec::new()))),
        "any" => Ok(Errors(None)),
        codes => Ok(Errors(Some(codes.split(',').map(code).collect::<Result<_, _>>()?))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct MatchLine {
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
  - { name: good, url: "http://127.0.0.1/", partner: GLOBEX, signature: [valid], errors: none }
"#;

    /// The names of the rules that fire, and everything else that was said.
    fn fired(arguments: &str) -> (Vec<String>, String) {
        let (out, err) = said(arguments);
        (out.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect(), err)
    }

    /// What went to stdout and to stderr.
    fn said(arguments: &str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(&config, GATEWAY).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), RULES).unwrap();
        let words = ["match", "-c", config.to_str().unwrap()];
        let line =
            MatchLine::try_parse_from(words.into_iter().chain(arguments.split(' '))).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        line.command.run(&Plugins::default(), &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
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
    fn filters_are_held_against_what_is_said_of_the_message() {
        let asked = "--event message.received --partner GLOBEX";
        let fired = |more: &str| fired(&format!("{asked}{more}")).0;
        assert_eq!(fired(" --signature valid --errors none"), ["good", "log"]);
        assert_eq!(fired(" --signature invalid --errors none"), ["all", "log"]);
        assert_eq!(fired(" --signature none --errors none"), ["all", "log"]);
        assert_eq!(fired(" --signature valid --errors 800,900"), ["all", "log"]);
        assert_eq!(fired(" --signature valid --errors any"), ["all", "log"]);
    }

    #[test]
    fn filters_that_have_to_hold_are_printed_when_nothing_is_said_of_the_message() {
        let (out, _) = said("--event message.received --partner GLOBEX");
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        let condition = "good: may fire: it fires if its signature is valid and it has no errors";
        assert!(lines[0].starts_with(condition), "{out}");
        assert!(lines[1].starts_with("log: fires"), "{out}");
        assert!(lines[2].starts_with("all: may fire: \"good\" is more specific"), "{out}");
    }

    #[test]
    fn unknown_status_or_code_is_refused_and_the_known_ones_are_listed() {
        for (flag, word, list) in [
            ("--signature", "verified", "valid, other-certificate, invalid"),
            ("--errors", "850", "not a processing error code"),
            ("--errors", "x", "codes such as 800,900"),
        ] {
            let words = ["match", "--event", "message.received", flag, word];
            let error = MatchLine::try_parse_from(words).err().unwrap().to_string();
            assert!(error.contains(list), "{error}");
        }
    }

    #[test]
    fn says_when_none_fires() {
        let (names, near) = fired("--event mdn.sent --site other");
        assert!(names.is_empty());
        assert!(near.starts_with("No webhook fires.\nfar: does not fire: it does not subscribe"));
    }

    #[test]
    fn an_unknown_event_lists_the_events() {
        let error =
            MatchLine::try_parse_from(["match", "--event", "message.recieved"]).err().unwrap();
        assert!(error.to_string().contains("the events are message.received, mdn.received"));
    }
}
