//! Writes the figures as a table for people and as JSON for programs.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::duel::{Extent, Row};
use crate::bench::machine::Machine;
use crate::bench::tables::table;

/// A ratio above this is marked.
const RATIO_MAX: f64 = 1.03;

/// All figures of a comparison.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// The other revision's full name.
    pub(super) against: String,
    pub(super) extent: Extent,
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Extent {
            rounds,
            queries,
            runs,
        } = self.extent;
        writeln!(formatter, "{}\n", self.machine)?;
        writeln!(
            formatter,
            "New: this checkout. Old: {}. Medians of {rounds} alternating rounds, of {queries} \
             round trips and of {runs} runs by bpf_stats",
            self.against
        )?;
        let header = [
            "HOOK", "QUESTION", "SERVICES", "P50 NEW", "OLD us", "RATIO", "RUN NEW", "OLD ns",
            "RATIO", "",
        ];
        let mut rows = table(&header, 2);
        for row in &self.rows {
            let above = |ratio: f64| ratio.is_nan() || ratio > RATIO_MAX;
            let mark = if above(row.p50_ratio) || above(row.run_ratio) {
                format!("above {RATIO_MAX}")
            } else {
                String::new()
            };
            rows.add_row([
                row.hook.to_owned(),
                row.question.to_owned(),
                row.services.to_string(),
                format!("{:.2}", row.p50_us[0]),
                format!("{:.2}", row.p50_us[1]),
                format!("{:.3}", row.p50_ratio),
                format!("{:.0}", row.run_ns[0]),
                format!("{:.0}", row.run_ns[1]),
                format!("{:.3}", row.run_ratio),
                mark,
            ]);
        }
        writeln!(formatter, "{rows}")
    }
}
