//! Problems of objects, for `status` and metrics.

use std::collections::VecDeque;

use tracing::warn;

use super::Snapshot;
use crate::watch::{Problem, Report};

/// The most problems that `status` shows.
pub(super) const PROBLEMS_SHOWN_MAX: usize = 100;

/// The latest problems, each with the object or file of the report.
#[derive(Debug, Default)]
pub(super) struct Reported {
    latest: VecDeque<(String, Problem)>,
}

impl Reported {
    /// Replaces the problems of the reported objects. Logs and counts new problems.
    pub(super) fn take(&mut self, reports: Vec<Report>, snapshot: &mut Snapshot) {
        if reports.is_empty() {
            return;
        }
        for Report { about, problems } in reports {
            for problem in &problems {
                let known = (about.clone(), problem.clone());
                if self.latest.contains(&known) {
                    continue;
                }
                warn!("{problem}");
                let count = snapshot.problem_counts.entry(problem.reason.label());
                *count.or_default() += 1;
            }
            self.latest.retain(|(object, _)| *object != about);
            let problems = problems.into_iter().map(|problem| (about.clone(), problem));
            self.latest.extend(problems);
            let surplus = self.latest.len().saturating_sub(PROBLEMS_SHOWN_MAX);
            self.latest.drain(..surplus);
        }
        let shown = self.latest.iter().map(|(_, problem)| problem.to_string());
        snapshot.reported = shown.collect::<Vec<_>>().into();
    }
}
