//! The command line's commands (section 1 of the design), one file each.
//!
//! A command is a struct of its arguments with a `run` that writes where it is told to, so that
//! tests call it as `main` does.

pub mod check;
pub mod hash_token;
pub mod matches;

use std::{
    io::{self, Write},
    path::Path,
};

use crate::config::Mistake;

/// Prints each mistake on a line of its own, and their number to `err`.
fn tell(
    mistakes: &[Mistake],
    config: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    for mistake in mistakes {
        writeln!(out, "{mistake}")?;
    }
    let count = match mistakes.len() {
        1 => "one mistake".to_owned(),
        many => format!("{many} mistakes"),
    };
    writeln!(err, "{} cannot be used: it has {count}.", config.display())
}
