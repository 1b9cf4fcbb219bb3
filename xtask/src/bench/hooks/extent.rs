//! The extent of a measurement: numbers of rounds, queries and flows.

use std::time::Duration;

use serde::Serialize;

/// The extent of one measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Extent {
    /// Number of rounds of questions.
    pub(super) rounds: u32,
    /// Number of queries of a path in a round.
    pub(super) queries: u32,
    /// Number of rounds of traffic.
    pub(super) flow_rounds: u32,
    /// Length of a measured flow.
    #[serde(skip)]
    pub(super) flow: Duration,
}

/// The extents without `--quick`: first of round trips and traffic, then of run times, with a
/// million runs of each program.
pub(super) const FULL: [Extent; 2] = [extent(31, 5_000, 31), extent(20, 50_000, 0)];
/// The extents with `--quick`, with a hundred thousand runs of each program.
pub(super) const QUICK: [Extent; 2] = [extent(15, 2_000, 9), extent(10, 10_000, 0)];

const fn extent(rounds: u32, queries: u32, flow_rounds: u32) -> Extent {
    Extent {
        rounds,
        queries,
        flow_rounds,
        flow: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_run_as_often_as_is_asked_of_the_mean() {
        let runs = |[
            _,
            Extent {
                rounds, queries, ..
            },
        ]: [Extent; 2]| rounds * queries;
        assert_eq!((runs(FULL), runs(QUICK)), (1_000_000, 100_000));
    }
}
