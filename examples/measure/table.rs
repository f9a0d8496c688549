//! Figures and the bars that they are held against.

use std::{
    fmt::{self, Display},
    time::Duration,
};

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    bar: String,
    /// `None`: printed for comparison.
    met: Option<bool>,
}

// === impl Table ===

impl Table {
    /// A figure without a bar.
    pub(crate) fn figure(&mut self, what: impl Into<String>, figure: impl Display) {
        let (what, figure) = (what.into(), figure.to_string());
        self.rows.push(Row { what, figure, bar: String::new(), met: None });
    }

    /// A time that should be at most this.
    pub(crate) fn at_most(&mut self, what: impl Into<String>, figure: f64, bar: Duration) {
        self.rows.push(Row {
            what: what.into(),
            figure: milliseconds(figure),
            bar: format!("<= {}", milliseconds(bar.as_secs_f64())),
            met: Some(figure <= bar.as_secs_f64()),
        });
    }

    /// A ratio that should be on this side of the bar.
    pub(crate) fn ratio(&mut self, what: impl Into<String>, figure: f64, bar: f64, at_least: bool) {
        let sign = if at_least { ">=" } else { "<=" };
        self.rows.push(Row {
            what: what.into(),
            figure: format!("{:.1} %", figure * 100.0),
            bar: format!("{sign} {:.0} %", bar * 100.0),
            met: Some(if at_least { figure >= bar } else { figure <= bar }),
        });
    }

    /// How many bars are missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.met == Some(false)).count()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | figure | bar | |\n|---|---|---|---|")?;
        for Row { what, figure, bar, met } in &self.rows {
            let verdict = match met {
                None => "",
                Some(true) => "met",
                Some(false) => "MISSED",
            };
            writeln!(f, "| {what} | {figure} | {bar} | {verdict} |")?;
        }
        Ok(())
    }
}

/// Seconds, shown as milliseconds.
pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}
