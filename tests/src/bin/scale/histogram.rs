//! Histograms of the agent's metrics.

use anyhow::Context as _;
use serde::Serialize;

/// Cumulative counts by upper bound in seconds. The last bound is infinite.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(Vec<(f64, u64)>);

/// Upper bounds of a distribution's quantiles in seconds, as far as a histogram tells.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bounds {
    pub(crate) batches: u64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Histogram {
    /// Reads the histogram with this name and without labels from a metrics page.
    pub(crate) fn parse(page: &str, name: &str) -> anyhow::Result<Self> {
        let start = format!("{name}_bucket{{le=\"");
        let lines = page.lines().filter_map(|line| line.strip_prefix(&start));
        let buckets = lines.map(|line| {
            let (bound, count) = line.split_once("\"} ").context("cut off")?;
            let bound = bound.parse().or_else(|error| match bound {
                "+Inf" => Ok(f64::INFINITY),
                _ => Err(error),
            })?;
            let count = count.split(' ').next().unwrap_or_default();
            anyhow::Ok((bound, count.parse()?))
        });
        let buckets = buckets.collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!buckets.is_empty(), "no histogram {name}");
        Ok(Self(buckets))
    }

    /// The distribution of the values since `before`.
    pub(crate) fn since(&self, before: &Self) -> Bounds {
        let now = self.0.iter().zip(&before.0);
        let counts: Vec<(f64, u64)> = now
            .map(|((bound, now), (_, before))| (*bound, now - before))
            .collect();
        let batches = counts.last().map_or(0, |(_, count)| *count);
        let bound = |share: f64| {
            let rank = (batches as f64 * share).ceil();
            let mut counts = counts.iter();
            let bucket = counts.find(|(_, count)| *count > 0 && *count as f64 >= rank);
            bucket
                .map(|(bound, _)| *bound)
                .filter(|bound| bound.is_finite())
        };
        Bounds {
            batches,
            p50: bound(0.5),
            p99: bound(0.99),
            max: bound(1.0),
        }
    }
}
