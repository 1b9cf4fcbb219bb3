//! The questions that the agent leaves to CoreDNS at present, and the reasons.

use std::sync::Arc;

use parking_lot::RwLock;

use super::left::Left;

/// The present state, which one task writes and others read.
#[derive(Debug, Default)]
pub struct Standing {
    report: RwLock<Arc<Report>>,
}

/// The state in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The questions that are left to CoreDNS.
    pub left: Left,
    /// The lines of the Corefile, or other reasons, that leave these questions to CoreDNS.
    pub reasons: Vec<String>,
    /// Sentences for the operator that leave nothing to CoreDNS.
    pub remarks: Vec<String>,
    /// Why the Corefile may have changed since it was read.
    pub outages: Vec<String>,
}

impl Report {
    /// The problems for the operator, each in a sentence.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let left = |reason: &String| format!("left to CoreDNS: {reason}");
        let stale = |why: &String| format!("the Corefile may have changed since: {why}");
        let reasons = self.reasons.iter().map(left);
        reasons.chain(self.outages.iter().map(stale))
    }
}

impl Standing {
    /// The state in words.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.read())
    }

    /// Replaces the state. Returns the one before.
    pub fn set(&self, report: Report) -> Arc<Report> {
        std::mem::replace(&mut *self.report.write(), Arc::new(report))
    }
}
