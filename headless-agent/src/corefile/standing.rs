//! The parts of the questions that the agent leaves to CoreDNS at present, and the reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::rules::Parts;

/// The present state, which one task writes and others read.
#[derive(Debug, Default)]
pub struct Standing {
    bits: AtomicU32,
    report: RwLock<Arc<Report>>,
}

/// The state in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The parts that are left to CoreDNS.
    pub parts: Parts,
    /// The lines of the Corefile, or other reasons, that leave these parts to CoreDNS.
    pub reasons: Vec<String>,
    /// Sentences for the operator that leave nothing to CoreDNS.
    pub remarks: Vec<String>,
}

impl Standing {
    /// The parts that are left to CoreDNS.
    pub fn parts(&self) -> Parts {
        Parts::from_bits(self.bits.load(Ordering::Relaxed))
    }

    /// The state in words.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.read())
    }

    /// Replaces the state. Returns the one before.
    pub fn set(&self, report: Report) -> Arc<Report> {
        self.bits.store(report.parts.bits(), Ordering::Relaxed);
        std::mem::replace(&mut *self.report.write(), Arc::new(report))
    }
}
