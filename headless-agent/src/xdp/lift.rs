//! When XDP comes off an interface, and when it comes back.
//!
//! Generic XDP copies each TCP segment that a pod sends, which costs a busy pod a
//! seventh of its throughput; tc costs it next to nothing. So a busy interface is
//! left to tc.

use std::time::{Duration, Instant};

/// Shorter than this, no rate is taken: it would be chance. The interfaces are
/// listed once a second.
const WINDOW: Duration = Duration::from_millis(900);

/// How long an interface must be quiet.
const QUIET: Duration = Duration::from_secs(10);

/// What is quiet, as a part of the limit: a pod that is about at the limit
/// should not have XDP come and go.
const QUIET_PART: u64 = 2;

/// A change of what is on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// XDP is to come off.
    Lift,
    /// XDP is to come back.
    Restore,
}

/// What one interface has received of its pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// When the bytes were counted last, and how many they were.
    last: Option<(Instant, u64)>,
    /// Whether XDP is off.
    lifted: bool,
    /// Since when it is off and the interface quiet.
    quiet_since: Option<Instant>,
}

impl Meter {
    /// Whether XDP is off.
    pub fn is_lifted(&self) -> bool {
        self.lifted
    }

    /// Takes note that `bytes` had been received by `now`; `limit` is in bytes a
    /// second.
    pub fn observe(&mut self, now: Instant, bytes: u64, limit: u64) -> Option<Change> {
        let Some((then, before)) = self.last else {
            self.last = Some((now, bytes));
            return None;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed < WINDOW {
            return None;
        }
        self.last = Some((now, bytes));
        // Where a device of the same index took its place, the count began anew.
        let received = bytes.checked_sub(before)?;
        let nanos = elapsed.as_nanos();
        let rate = u128::from(received) * Duration::from_secs(1).as_nanos() / nanos;
        if !self.lifted {
            if rate < u128::from(limit) {
                return None;
            }
            self.lifted = true;
            self.quiet_since = None;
            return Some(Change::Lift);
        }
        if rate >= u128::from(limit / QUIET_PART) {
            self.quiet_since = None;
            return None;
        }
        // It was quiet from the beginning of what was measured.
        let since = *self.quiet_since.get_or_insert(then);
        if now.saturating_duration_since(since) < QUIET {
            return None;
        }
        self.lifted = false;
        self.quiet_since = None;
        Some(Change::Restore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    /// Feeds one rate a second and tells in which seconds something changed.
    fn changes(rates: &[u64]) -> Vec<(usize, Change)> {
        let start = Instant::now();
        let (mut meter, mut bytes) = (Meter::default(), 77);
        assert_eq!(meter.observe(start, bytes, LIMIT), None);
        let mut changes = Vec::new();
        for (second, rate) in (1..).zip(rates) {
            bytes += rate;
            let now = start + Duration::from_secs(second as u64);
            if let Some(change) = meter.observe(now, bytes, LIMIT) {
                changes.push((second, change));
                assert_eq!(meter.is_lifted(), change == Change::Lift);
            }
        }
        changes
    }

    #[test]
    fn a_second_at_the_limit_lifts() {
        assert_eq!(changes(&[999, 999, 0, 999]), []);
        assert_eq!(changes(&[0, 1000, 5000]), [(2, Change::Lift)]);
    }

    #[test]
    fn ten_seconds_below_half_of_it_restore() {
        let quiet = [1000, 499, 499, 0, 0, 499, 0, 0, 0, 0];
        assert_eq!(changes(&quiet), [(1, Change::Lift)]);
        let quiet = [quiet.as_slice(), &[499, 0, 1000]].concat();
        let expected = [(1, Change::Lift), (11, Change::Restore), (13, Change::Lift)];
        assert_eq!(changes(&quiet), expected);
    }

    #[test]
    fn between_both_nothing_changes() {
        let mut rates = vec![700; 30];
        assert_eq!(changes(&rates), []);
        rates[0] = 1000;
        assert_eq!(changes(&rates), [(1, Change::Lift)]);
        // One second in between begins the wait anew.
        let mut rates = vec![0; 16];
        (rates[0], rates[8]) = (1000, 500);
        assert_eq!(changes(&rates), [(1, Change::Lift)]);
    }

    #[test]
    fn what_comes_too_soon_or_counts_anew_is_no_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = Meter::default();
        assert_eq!(meter.observe(start, 0, LIMIT), None);
        assert_eq!(meter.observe(at(100), 900, LIMIT), None);
        assert_eq!(meter.observe(at(1000), 990, LIMIT), None, "of a second");
        assert_eq!(meter.observe(at(2000), 5, LIMIT), None, "another device");
        assert_eq!(meter.observe(at(3000), 900, LIMIT), None);
        assert_eq!(meter.observe(at(7000), 4900, LIMIT), Some(Change::Lift));
    }
}
