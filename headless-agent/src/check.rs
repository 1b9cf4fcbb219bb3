//! `check`: what of a folder of manifests cannot be served, and why.

use std::fmt::Write as _;

use crate::config::Check;
use crate::records::Index;
use crate::watch::manifests;

/// Every problem of the folder, one a line; empty where there is none.
pub async fn check(settings: Check) -> anyhow::Result<String> {
    let Check {
        folder,
        keep,
        records,
    } = settings;
    let mut index = Index::new(records);
    let batch = tokio::task::spawn_blocking(move || manifests::load(&folder, keep)).await??;
    let reports = batch.reports.into_iter();
    let mut lines: Vec<_> = reports
        .flat_map(|report| report.lines().collect::<Vec<_>>())
        .collect();
    index.apply_all(batch.events);
    lines.extend(index.problems().iter().map(ToString::to_string));
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}")?;
    }
    Ok(text)
}
