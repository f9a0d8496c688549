//! Makes text fit for a terminal: what partners and endpoints control must not steer it.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use crate::log::is_control_or_direction;

/// The characters of a value that are printed.
const VALUE: usize = 500;
/// The width of a terminal that tables are for.
const WIDTH: usize = 80;
/// The least width of a column that is cut.
const LEAST: usize = 24;

/// Rows of cells under a head.
pub(super) struct TextTable {
    rows: Vec<Vec<String>>,
    is_cut: bool,
}

/// One line without characters that steer a terminal, and not too long.
pub(in crate::cli) fn printable(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars().take(VALUE) {
        escape(c, &mut text);
    }
    if value.chars().nth(VALUE).is_some() {
        text.push_str("...");
    }
    text
}

pub(in crate::cli) fn escape(c: char, text: &mut String) {
    match is_control_or_direction(c) {
        true => text.extend(c.escape_default()),
        false => text.push(c),
    }
}

/// JSON without characters that steer a terminal. It means the same: only strings have them.
pub(super) fn safe_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_control_or_direction(c) && !matches!(c, '\n' | '\r' | '\t') {
            // All of them are in the basic plane.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

// === impl TextTable ===

impl TextTable {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()], is_cut: false }
    }

    /// The last column is cut so that lines have 80 characters.
    #[must_use]
    pub(super) fn cut(self) -> Self {
        Self { is_cut: true, ..self }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows[0].len();
        let width = |n: usize| self.rows.iter().map(|row| row[n].chars().count()).max();
        let widths: Vec<_> = (0..columns).map(|n| width(n).unwrap_or_default()).collect();
        let before: usize = widths[..columns - 1].iter().map(|width| width + 2).sum();
        let most = WIDTH.saturating_sub(before).max(LEAST);
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths).take(columns - 1) {
                let _ = write!(line, "{cell:width$}  ");
            }
            let last = &row[columns - 1];
            if self.is_cut && last.chars().count() > most {
                line.extend(last.chars().take(most - 3));
                line.push_str("...");
            } else {
                line.push_str(last);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_without_what_steers_a_terminal() {
        let json = "{\n\"a\":\"\u{9b}31m\u{202e}\u{7f}\"}";
        let safe = safe_json(json);
        assert_eq!(safe, "{\n\"a\":\"\\u009b31m\\u202e\\u007f\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&safe), read(json));
    }

    #[test]
    fn last_column_is_cut_at_80_characters() {
        let mut table = TextTable::new(["ID", "ERROR"]).cut();
        table.row(["1".to_owned(), "x".repeat(100)]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [9, 80]);
        assert!(text.ends_with("x...\n"), "{text}");
    }
}
