//! Figures of several subjects, taken in turns: their medians, and the ratios between subjects of one round.

use std::fmt::Write as _;

use super::table::Table;

/// What each subject came to in each round.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    /// By subject, then by round.
    figures: Vec<Vec<f64>>,
}

// === impl Compared ===

impl Compared {
    /// Adds a subject's figure of the next round.
    pub(crate) fn add(&mut self, subject: usize, what: &str, unit: &'static str, figure: f64) {
        let place = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row { what: what.to_owned(), unit, figures: Vec::new() });
            self.rows.len() - 1
        });
        let figures = &mut self.rows[place].figures;
        if figures.len() <= subject {
            figures.resize(subject + 1, Vec::new());
        }
        figures[subject].push(figure);
    }

    /// A row for each figure: the first subject's, and its ratio to each other one's that has it. Behind
    /// each median stand the bounds between which the true one is with at least 95 %.
    pub(crate) fn print(self, others: &[&str], table: &mut Table) {
        for Row { what, unit, figures } in self.rows {
            let Some(own) = figures.first() else { continue };
            let mut shown = format!("{} {unit}", with_interval(own)).trim_end().to_owned();
            for (name, other) in others.iter().zip(figures.iter().skip(1)) {
                let pairs = own.iter().zip(other).filter(|(_, other)| **other > 0.0);
                let ratios: Vec<_> = pairs.map(|(own, other)| own / other).collect();
                if !ratios.is_empty() {
                    write!(shown, "; {} x {name}", with_interval(&ratios))
                        .expect("a string takes every piece");
                }
            }
            table.figure(what, shown);
        }
    }
}

/// The middle one, or what is between the two in the middle.
pub(crate) fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    let upper = all.get(all.len() / 2).copied().unwrap_or_default();
    let lower = all.get((all.len().max(1) - 1) / 2).copied().unwrap_or_default();
    (lower + upper) / 2.0
}

fn with_interval(all: &[f64]) -> String {
    let (low, high) = interval(all);
    format!("{} ({} to {})", rounded(median(all)), rounded(low), rounded(high))
}

/// As many digits as say something.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

/// The confidence interval of the median by order statistics, which supposes nothing about how the figures
/// are spread: the narrowest one of at least 95 %, and all of them where they are too few for that.
fn interval(all: &[f64]) -> (f64, f64) {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    // How likely it is that so many of the figures, or fewer, are below the true median, each with 1/2.
    let count = i32::try_from(all.len()).unwrap_or(i32::MAX);
    let (mut outside, mut ways, mut left_out) = (0.0, 0.5_f64.powi(count), 0);
    for nth in 0..count / 2 {
        outside += 2.0 * ways;
        if outside > 0.05 {
            break;
        }
        left_out = nth;
        ways *= f64::from(count - nth) / f64::from(nth + 1);
    }
    let low = usize::try_from(left_out).unwrap_or_default();
    let at = |place: usize| all.get(place).copied().unwrap_or_default();
    (at(low), at(all.len().saturating_sub(1 + low)))
}
