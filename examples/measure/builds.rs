//! Two builds beside each other: what the deliveries alone and the decoder alone come to, each build's
//! programs in turns.

use std::{
    error::Error,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use as2hook_testing::gateway::built_binary;

use super::{Extent, SHORT, compared::Compared, table::Table};

/// Rows: each figure of `plugins/delivery/examples/throughput.rs` and `plugins/as2/benches/decode.rs`.
pub(crate) fn measure(
    extent: Extent,
    against: &Path,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let mut builds =
        [built_binary(), against.to_owned()].into_iter().enumerate().collect::<Vec<_>>();
    let deliveries = if extent.seconds == SHORT.seconds { "10000" } else { "50000" };
    let mut compared = Compared::default();
    for _ in 0..extent.rounds {
        for (number, binary) in &builds {
            let throughput = binary.with_file_name("examples/throughput");
            let decode = newest_bench(&binary.with_file_name("deps"), "decode")?;
            // No bench of criterion's has this name: its own table is what is read.
            for (program, args) in [(throughput, [deliveries, "4"]), (decode, ["--bench", "none"])]
            {
                for (what, figure) in figures(&output(&program, args)?) {
                    compared.add(*number, &what, "", figure);
                }
            }
        }
        builds.reverse();
    }
    compared.print(&["the other build's"], table);
    Ok(())
}

/// What a program writes, one line for each figure.
fn output(program: &Path, args: [&str; 2]) -> Result<String, Box<dyn Error>> {
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", program.display());
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Cargo puts a hash behind a bench's name, and leaves those of earlier builds.
fn newest_bench(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_name().and_then(OsStr::to_str).and_then(|file| file.split_once('-'));
        if stem.is_some_and(|(stem, _)| stem == name) && path.extension().is_none() {
            found.push((path.metadata()?.modified()?, path));
        }
    }
    let newest = found.into_iter().max().map(|(_, path)| path);
    newest.ok_or_else(|| io::Error::other(format!("{name} is not in {}", folder.display())))
}

/// The figures of a table, `| what: figure | ratio | … |`, or of lines, `what   figure   …`.
fn figures(text: &str) -> Vec<(String, f64)> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<f64>().ok();
    let mut found = Vec::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let (what, figure) = match cells[..] {
            ["", what, ratio, ..] => {
                let what = match what.split_once(": ") {
                    None => what,
                    Some((what, figure)) => {
                        found.extend(number(figure).map(|figure| (what.to_owned(), figure)));
                        what
                    }
                };
                (format!("{what}, by its primitives"), number(ratio))
            }
            _ => match line.split_once("  ") {
                Some((what, figure)) => (what.to_owned(), number(figure)),
                None => continue,
            },
        };
        found.extend(figure.map(|figure| (what, figure)));
    }
    found
}
