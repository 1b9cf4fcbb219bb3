//! Which slices are watched, where the cluster's size decides (`--endpoints auto`).

use std::fmt;

/// The choice that the agent has made at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Number of EndpointSlices in the cluster.
    pub slices: Result<u64, Uncounted>,
    /// Most slices with which all are watched (`--endpoints-max`).
    pub slices_max: u64,
}

/// Why the agent does not know the number of EndpointSlices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// The API server leaves the number out of its lists, as old servers do.
    Untold,
    /// The agent's account may not list the slices of all namespaces.
    Forbidden,
}

impl Choice {
    /// Whether the slices of every Service are watched, or only the slices of headless
    /// Services. The latter is safe in a cluster of any size.
    pub fn all(&self) -> bool {
        self.slices.is_ok_and(|slices| slices <= self.slices_max)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.slices_max;
        match self.slices {
            Ok(slices) if self.all() => write!(
                f,
                "the cluster has {slices} EndpointSlices, at most --endpoints-max {max}: the \
                 endpoints of all Services are watched"
            ),
            Ok(slices) => write!(
                f,
                "the cluster has {slices} EndpointSlices, more than --endpoints-max {max}: only \
                 the endpoints of headless Services are watched"
            ),
            Err(Uncounted::Forbidden) => f.write_str(
                "the agent was not allowed to count the EndpointSlices of the cluster: only the \
                 endpoints of headless Services are watched",
            ),
            Err(Uncounted::Untold) => f.write_str(
                "the API server does not say how many EndpointSlices the cluster has: only the \
                 endpoints of headless Services are watched",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_slices_are_watched_up_to_the_bound_only() {
        let slices_max = 5;
        for (slices, all) in [
            (Ok(0), true),
            (Ok(5), true),
            (Ok(6), false),
            (Err(Uncounted::Untold), false),
            (Err(Uncounted::Forbidden), false),
        ] {
            let choice = Choice { slices, slices_max };
            assert_eq!(choice.all(), all, "{choice}");
            let said = choice.to_string().contains("of all Services are watched");
            assert_eq!(said, all, "{choice}");
        }
    }
}
