//! `as2hook init`: a config to start from, or one taken over from an OpenAS2.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
};

use as2hook_config::{LoadAttempt, Plugins};

use super::{CommandError, count, in_config, terminal::printable};

use self::new_files::NewFiles;

mod new_files;
mod openas2;
mod start;

/// Writes a config that works as it stands, with secrets of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct Init {
    /// The folder to write to. What is there already is never overwritten.
    #[arg(value_name = "DIR", default_value = "conf")]
    pub folder: PathBuf,
    /// Takes stations, partners, keys and ports over from the OpenAS2 with this config.xml.
    #[arg(long, value_name = "CONFIG.XML")]
    pub from_openas2: Option<PathBuf>,
    #[command(flatten)]
    openas2: openas2::OpenAs2Options,
}

const CONFIG: &str = "as2hook.yaml";

// === impl Init ===

impl Init {
    /// What was written, and what comes next, goes to `out`; warnings of the new config and questions go to
    /// `err`. `input` is read where a question has to be asked and `is_terminal` says that a person is there.
    ///
    /// # Errors
    /// When a file is there already, OpenAS2's cannot be read, it is not clear which AS2 ids are ours, or
    /// `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        input: Option<&mut dyn BufRead>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let config = self.folder.join(CONFIG);
        let mut files = NewFiles::new(&self.folder);
        let start = start::add_common(&mut files, plugins)?;
        let mut steps = Vec::new();
        match &self.from_openas2 {
            None => files.add(CONFIG, start.config(&config)),
            Some(xml) => {
                let takeover = self.openas2.take_over(xml, input, err)?;
                steps = takeover.edits();
                files.add(CONFIG, takeover.config(&start, &config));
                takeover.add_keys(&mut files);
            }
        }
        files.write()?;
        writeln!(out, "Written to {}:", printable(&self.folder.display().to_string()))?;
        for name in files.names() {
            writeln!(out, "  {name}")?;
        }
        judge(&config, plugins, err)?;
        if !steps.is_empty() {
            writeln!(out, "\nIn OpenAS2 (the same stands in {CONFIG}):")?;
            for step in &steps {
                writeln!(out, "  - {}", printable(step))?;
            }
        }
        let shown = printable(&self.folder.display().to_string());
        writeln!(
            out,
            "\nNext:\n  \
             as2hook run -c {shown}/{CONFIG}\n  \
             as2hook listen --secret-file {shown}/{}   # takes the first webhooks\n  \
             as2hook status -c {shown}/{CONFIG} --token-file {shown}/{}",
            start::SECRET,
            start::TOKEN
        )?;
        Ok(())
    }
}

/// Reports what `check` says of the new config.
fn judge(config: &Path, plugins: &Plugins, err: &mut dyn Write) -> Result<(), CommandError> {
    let LoadAttempt { outcome, warnings, .. } = as2hook_config::attempt(config, plugins);
    for warning in &warnings {
        writeln!(err, "warning: {warning}")?;
    }
    if !warnings.is_empty() {
        let warnings = count(warnings.len(), "warning");
        writeln!(err, "The new config works, with {warnings}.")?;
    }
    outcome.map(drop).map_err(in_config(config))
}
