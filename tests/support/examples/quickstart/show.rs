//! What the quickstart puts on the terminal.

use std::env;
use std::io::{self, Write};
use std::path::Path;

use as2hook_testing::Request;

const WIDTH: usize = 78;
const LOG_LINES: usize = 20;

/// One step of the way.
pub(super) fn step(out: &mut dyn Write, nth: usize, what: &str, detail: &str) -> io::Result<()> {
    writeln!(out, "{}", format!("{nth}. {what:<50} {detail}").trim_end())
}

/// What came of a step.
pub(super) fn note(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "   - {text}")
}

/// A webhook as it stood on the wire.
pub(super) fn webhook(out: &mut dyn Write, payload: &str, request: &Request) -> io::Result<()> {
    let title = format!("── payload: {payload} ");
    let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
    writeln!(out, "\n{title}{rule}")?;
    let head = String::from_utf8_lossy(&request.head.raw).replace("\r\n", "\n");
    write!(out, "{head}")?;
    if request.body.length == 0 {
        return writeln!(out, "(no body)");
    }
    writeln!(out, "{}", request.text().trim_end())
}

/// Where to go from here.
pub(super) fn go_on(out: &mut dyn Write, folder: &Path) -> io::Result<()> {
    let folder = short(folder);
    let rule = "─".repeat(WIDTH);
    writeln!(
        out,
        "\n{rule}\n\
         All of it has been stopped again. To go on:\n  \
         - look at {folder}/as2hook.yaml and {folder}/webhooks.yaml, the config that did this;\n  \
         - conf/as2hook.yaml and conf/webhooks.yaml explain every key: put your own stations,\n    \
         partners and endpoints there;\n  \
         - cargo run -- listen                       takes webhooks and prints them;\n  \
         - cargo run -- check -c conf/as2hook.yaml   reports every mistake in them at once;\n  \
         - cargo run -- run -c conf/as2hook.yaml     runs the gateway.\n"
    )
}

/// The end of a log, where the reason stands.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// A path as it looks from the repository's root.
pub(super) fn short(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
