//! What the programs have counted.

use std::collections::BTreeMap;

use headless_tests::agent::Agent;
use serde_json::Value;

/// Answers and passes of the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Answers of both programs.
    pub(crate) answers: u64,
    /// Packets that both programs passed, by reason.
    pub(crate) passes: BTreeMap<String, u64>,
}

impl Counted {
    /// The counts of an agent's programs since they were loaded.
    pub(crate) fn now(agent: &Agent<'_>) -> Self {
        // The `status` command would start a process for each reading.
        let (code, status) = agent.ask("/status.json").unwrap();
        assert_eq!(code, 200, "{status}");
        let status: Value = serde_json::from_str(&status).unwrap();
        let number = |path: &str| status["answers"][path].as_u64().unwrap();
        let passes = status["passes"].as_object().unwrap().iter();
        Self {
            answers: number("xdp") + number("tc"),
            passes: passes
                .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap()))
                .collect(),
        }
    }

    /// The growth since an earlier time. Reasons that did not grow are left out.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let passes = self.passes.iter().filter_map(|(reason, count)| {
            let grown = count - before.passes.get(reason).copied().unwrap_or(0);
            (grown > 0).then(|| (reason.clone(), grown))
        });
        Self {
            answers: self.answers - before.answers,
            passes: passes.collect(),
        }
    }

    /// Adds other counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.answers += other.answers;
        for (reason, count) in other.passes {
            *self.passes.entry(reason).or_default() += count;
        }
    }
}
