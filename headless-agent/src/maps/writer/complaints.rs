//! Failures of single names as summaries for the log. A tenant decides how many names there
//! are, so no line of the log is about one name.

use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::maps::store::SinkError;
use crate::records::name::WireLabels;

/// The least time between two lines about the same kind of failure.
const INTERVAL: Duration = Duration::from_mins(1);

/// Failures that the log has not told yet.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Names that cannot be written.
    failed: Complaint,
    /// Names whose addresses or details find no room.
    crowded: Complaint,
    /// Names that are too long for the maps.
    long: Complaint,
}

/// Failures of one kind.
#[derive(Debug, Default)]
struct Complaint {
    names: u64,
    /// The first of the names, and the reason.
    first: Option<(String, String)>,
    told: Option<Instant>,
}

impl Complaint {
    fn note(&mut self, wire: &[u8], reason: impl FnOnce() -> String) {
        self.names += 1;
        self.first.get_or_insert_with(|| (show(wire), reason()));
    }

    /// The number of names, the first name and its reason, if it is time for a line.
    fn take(&mut self, now: Instant) -> Option<(u64, String, String)> {
        if self.told.is_some_and(|told| now < told + INTERVAL) {
            return None;
        }
        let (name, reason) = self.first.take()?;
        self.told = Some(now);
        Some((std::mem::take(&mut self.names), name, reason))
    }
}

impl Complaints {
    pub(super) fn failed(&mut self, wire: &[u8], error: &SinkError) {
        let reason = || match error {
            SinkError::Full { .. } | SinkError::PassedNames => error.to_string(),
            SinkError::Failed { source, .. } => format!("{error}: {source}"),
        };
        self.failed.note(wire, reason);
    }

    pub(super) fn crowded(&mut self, wire: &[u8]) {
        self.crowded.note(wire, String::new);
    }

    pub(super) fn long(&mut self, wire: &[u8]) {
        self.long.note(wire, String::new);
    }

    /// Writes the lines that are due.
    pub(super) fn tell(&mut self, now: Instant) {
        if let Some((names, first, error)) = self.failed.take(now) {
            error!(
                names,
                first, error, "cannot write names to the maps, left to userspace"
            );
        }
        if let Some((names, first, _)) = self.crowded.take(now) {
            warn!(
                names,
                first,
                "map CHUNKS has no room for the addresses or details of names, which are left to \
                 userspace"
            );
        }
        if let Some((names, first, _)) = self.long.take(now) {
            warn!(
                names,
                first, "the maps cannot hold names of this length, left out"
            );
        }
    }
}

/// A relative name in presentation form, for messages.
pub fn show(wire: &[u8]) -> String {
    let labels = WireLabels::new(wire).map(|label| label.escape_ascii().to_string());
    labels.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_are_one_line_a_minute() {
        let mut complaint = Complaint::default();
        let start = Instant::now();
        let note = |complaint: &mut Complaint, names: u64| {
            for _ in 0..names {
                complaint.note(b"\x01a\x01b", String::new);
            }
        };
        assert_eq!(complaint.take(start), None, "nothing to say");
        note(&mut complaint, 1);
        let said = |names: u64| Some((names, "a.b".to_owned(), String::new()));
        assert_eq!(complaint.take(start), said(1));
        note(&mut complaint, 1000);
        assert_eq!(complaint.take(start + INTERVAL / 2), None);
        note(&mut complaint, 1000);
        assert_eq!(complaint.take(start + INTERVAL), said(2000));
        assert_eq!(complaint.take(start + 2 * INTERVAL), None);
    }
}
