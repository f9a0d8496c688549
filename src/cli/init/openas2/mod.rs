//! `as2hook init --from-openas2`: what an OpenAS2 knows of stations, partners, keys and ports.
//!
//! # Layout
//! - `xml`, `properties`: its files, and the references in their values
//! - `server`: config.xml
//! - `partnerships`: partnerships.xml, and which ids are ours
//! - `keystore`: certificates and keys by alias
//! - `takeover`: what the gateway's config gets of all this
//! - `collector`: takes over one thing after the other; `pem_files`: keys and certificates as files
//! - `remarks`: what a person has to do, what has to change in OpenAS2, and what stays there
//! - `render`: the config as YAML

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, Read as _, Write},
    path::{Path, PathBuf},
};

use self::{
    partnerships::{Doubt, Partnerships},
    server::Server,
    takeover::Takeover,
    xml::SourceError,
};
use crate::cli::{CommandError, terminal::printable};

mod collector;
mod keystore;
mod partnerships;
mod pem_files;
mod properties;
mod remarks;
mod render;
mod server;
mod takeover;
mod xml;

/// What OpenAS2's files do not say.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct OpenAs2Options {
    /// OpenAS2's properties file [default: the variable OPENAS2_PROPERTIES_FILE].
    #[arg(long, value_name = "FILE", requires = "from_openas2")]
    properties: Option<PathBuf>,
    /// An AS2 id of ours; for each of them, where OpenAS2's files do not show it.
    #[arg(long = "station", value_name = "AS2_ID", requires = "from_openas2")]
    stations: Vec<String>,
    /// The file of the keystore's password, where OpenAS2 gets it by -Dorg.openas2.cert.Password.
    #[arg(long, value_name = "FILE", requires = "from_openas2")]
    keystore_password_file: Option<PathBuf>,
}

/// OpenAS2's variable for its properties file.
const PROPERTIES: &str = "OPENAS2_PROPERTIES_FILE";
/// The longest reply to a question, in bytes.
const MAX_REPLY: u64 = 64 * 1024;

// === impl OpenAs2Options ===

impl OpenAs2Options {
    /// Reads all that the config.xml names. Questions go to `err`.
    pub(super) fn take_over(
        &self,
        config: &Path,
        input: Option<&mut dyn BufRead>,
        err: &mut dyn Write,
    ) -> Result<Takeover, CommandError> {
        let variable = env::var_os(PROPERTIES).map(PathBuf::from);
        let properties = self.properties.clone().or(variable);
        let mut server = Server::read(config, properties.as_deref())?;
        let factory = server.of_class("XMLPartnershipFactory").next();
        let file = factory.and_then(|factory| factory.get("filename"));
        let partnerships = match file.map(|file| server.path(file)) {
            Some(file) => Some(Partnerships::read(&file, &mut server.properties)?),
            None => None,
        };
        let own = match &partnerships {
            Some(partnerships) => self.own_ids(partnerships, input, err)?,
            None => BTreeSet::new(),
        };
        let password = self.keystore_password_file.as_deref().map(read_password).transpose()?;
        Ok(Takeover::of(config, server, &partnerships.unwrap_or_default(), &own, password))
    }

    fn own_ids(
        &self,
        partnerships: &Partnerships,
        input: Option<&mut dyn BufRead>,
        err: &mut dyn Write,
    ) -> Result<BTreeSet<String>, CommandError> {
        if !self.stations.is_empty() {
            return chosen(&self.stations, &partnerships.as2_ids());
        }
        let doubt = match partnerships.own_ids() {
            Ok(own) => return Ok(own),
            Err(doubt) => doubt,
        };
        match input {
            Some(input) => ask(&doubt, input, err),
            None => Err(CommandError::Failed(format!(
                "OpenAS2's files do not show which AS2 ids are yours: pass --station for each of them. {}: {}",
                if doubt.likely.is_empty() { "They are" } else { "Likely" },
                shown(if doubt.likely.is_empty() { &doubt.all } else { &doubt.likely })
            ))),
        }
    }
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn ask(
    doubt: &Doubt,
    input: &mut dyn BufRead,
    err: &mut dyn Write,
) -> Result<BTreeSet<String>, CommandError> {
    writeln!(err, "OpenAS2's files do not show which of these AS2 ids are yours:")?;
    for (number, id) in doubt.all.iter().enumerate() {
        let likely = if doubt.likely.contains(id) { "   (likely)" } else { "" };
        writeln!(err, "  {:>3}  {}{likely}", number + 1, printable(id))?;
    }
    write!(err, "Your own, by number, separated by commas: ")?;
    err.flush()?;
    let mut reply = String::new();
    input.take(MAX_REPLY).read_line(&mut reply)?;
    let numbers = reply.split([',', ' ']).map(str::trim).filter(|number| !number.is_empty());
    let ids = numbers.map(|number| {
        let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let id = place.and_then(|place| doubt.all.iter().nth(place));
        id.cloned().ok_or_else(|| {
            CommandError::Failed(format!("{} is none of the numbers", printable(number)))
        })
    });
    let ids = ids.collect::<Result<BTreeSet<_>, _>>()?;
    if ids.is_empty() {
        return Err(CommandError::Failed(
            "without an AS2 id of yours there is nothing to take over".to_owned(),
        ));
    }
    Ok(ids)
}

fn chosen(given: &[String], known: &BTreeSet<String>) -> Result<BTreeSet<String>, CommandError> {
    match given.iter().find(|id| !known.contains(*id)) {
        Some(id) => Err(CommandError::Failed(format!(
            "--station {id:?} is in no partnership; there are: {}",
            shown(known)
        ))),
        None => Ok(given.iter().cloned().collect()),
    }
}

/// The first ones of many.
fn shown(ids: &BTreeSet<String>) -> String {
    const MOST: usize = 20;
    let shown: Vec<_> = ids.iter().take(MOST).map(|id| printable(id)).collect();
    let more = if ids.len() > MOST { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn read_password(path: &Path) -> Result<String, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| {
        CommandError::Failed(format!("{} cannot be read: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn reply(text: &str) -> (Result<BTreeSet<String>, String>, String) {
        let doubt = Doubt { likely: ids(&["WE"]), all: ids(&["ACME", "WE"]) };
        let mut err = Vec::new();
        let own = ask(&doubt, &mut text.as_bytes(), &mut err).map_err(|error| error.to_string());
        (own, String::from_utf8(err).unwrap())
    }

    #[test]
    fn ids_are_chosen_by_their_numbers() {
        let (own, asked) = reply("2\n");
        assert_eq!(own.unwrap(), ids(&["WE"]));
        assert!(asked.contains("    1  ACME\n    2  WE   (likely)\n"), "{asked}");
        assert_eq!(reply("1, 2\n").0.unwrap(), ids(&["ACME", "WE"]));
    }

    #[test]
    fn reply_that_names_none_is_refused() {
        for (text, expected) in
            [("3\n", "none of the numbers"), ("0\n", "none"), ("", "nothing to take over")]
        {
            assert!(reply(text).0.unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn unknown_station_is_refused_with_the_ids_that_there_are() {
        let error = chosen(&["US".to_owned()], &ids(&["ACME", "WE"])).unwrap_err().to_string();
        assert_eq!(error, "--station \"US\" is in no partnership; there are: ACME, WE");
    }
}
