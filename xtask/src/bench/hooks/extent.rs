//! How much is measured.

use std::time::Duration;

use serde::Serialize;

/// How much is measured.
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

/// For round trips and for run times. The full extent has a million runs of each program,
/// the quick one a tenth of that.
pub(super) const FULL: [Extent; 2] = [extent(31, 5_000, 31), extent(20, 50_000, 0)];
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
