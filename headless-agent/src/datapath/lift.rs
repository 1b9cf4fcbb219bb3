//! When XDP comes off an interface, and when it comes back.
//!
//! Generic XDP copies each TCP segment that a pod sends, which costs a busy pod a
//! seventh of its throughput, and makes room before each packet, a tenth of what a small
//! one costs; tc costs next to nothing. So a busy interface is left to tc.

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

/// What an interface receives of its pod, in all or in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets; a segment of many kilobytes is one.
    pub packets: u64,
}

/// What came since `before`, a second; `None` where less had come by now.
fn per_second(now: u64, before: u64, elapsed: Duration) -> Option<u64> {
    let came = u128::from(now.checked_sub(before)?);
    u64::try_from(came * Duration::from_secs(1).as_nanos() / elapsed.as_nanos()).ok()
}

impl Traffic {
    /// Whether it is at one of these limits, or above.
    fn reaches(self, limits: Self) -> bool {
        self.bytes >= limits.bytes || self.packets >= limits.packets
    }

    /// Below what an interface is quiet.
    fn quiet(self) -> Self {
        Self {
            // Not zero, which everything reaches.
            bytes: self.bytes.div_ceil(QUIET_PART),
            packets: self.packets.div_ceil(QUIET_PART),
        }
    }
}

/// What one interface has received of its pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// When it was counted last, how much it was, and how many of all pods' queries had
    /// been answered.
    last: Option<(Instant, Traffic, u64)>,
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

    /// Takes note that so much had been received by `now`; `limits` are for a second.
    ///
    /// `answered` is how many queries the programs had answered by then on all
    /// interfaces: they are not what XDP is a burden to. Which interface they came from
    /// is not counted, so that while one pod asks very much, another may send as many
    /// packets more.
    pub fn observe(
        &mut self,
        now: Instant,
        total: Traffic,
        answered: u64,
        limits: Traffic,
    ) -> Option<Change> {
        let Some((then, before, answered_before)) = self.last else {
            self.last = Some((now, total, answered));
            return None;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed < WINDOW {
            return None;
        }
        self.last = Some((now, total, answered));
        // Where a device of the same index took its place, the count began anew.
        let bytes = per_second(total.bytes, before.bytes, elapsed)?;
        let packets = per_second(total.packets, before.packets, elapsed)?;
        let answers = per_second(answered, answered_before, elapsed)?;
        let rate = Traffic {
            bytes,
            packets: packets.saturating_sub(answers),
        };
        if !self.lifted {
            if !rate.reaches(limits) {
                return None;
            }
            self.lifted = true;
            self.quiet_since = None;
            return Some(Change::Lift);
        }
        if rate.reaches(limits.quiet()) {
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

    const LIMITS: Traffic = Traffic {
        bytes: 1000,
        packets: 1000,
    };

    /// Feeds one rate a second and tells in which seconds something changed.
    fn changes_of(rates: &[u64], traffic: impl Fn(u64) -> Traffic) -> Vec<(usize, Change)> {
        let start = Instant::now();
        let (mut meter, mut total) = (Meter::default(), 77);
        assert_eq!(meter.observe(start, traffic(total), 0, LIMITS), None);
        let mut changes = Vec::new();
        for (second, rate) in (1..).zip(rates) {
            total += rate;
            let now = start + Duration::from_secs(second as u64);
            if let Some(change) = meter.observe(now, traffic(total), 0, LIMITS) {
                changes.push((second, change));
                assert_eq!(meter.is_lifted(), change == Change::Lift);
            }
        }
        changes
    }

    /// The same whether these are the bytes or the packets.
    fn changes(rates: &[u64]) -> Vec<(usize, Change)> {
        let changes = changes_of(rates, |bytes| Traffic { bytes, packets: 0 });
        let of_packets = changes_of(rates, |packets| Traffic { bytes: 0, packets });
        assert_eq!(changes, of_packets);
        changes
    }

    #[test]
    fn one_of_both_is_enough_and_both_must_be_quiet() {
        let mut rates = [[0, 1000].as_slice(), &[600; 11], &[0; 10]].concat();
        let expected = [(2, Change::Lift), (23, Change::Restore)];
        let traffic = |packets| Traffic { bytes: 7, packets };
        assert_eq!(changes_of(&rates, traffic), expected);
        rates[13] = 500;
        assert_eq!(changes_of(&rates, traffic), expected[..1]);
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
    fn queries_that_are_answered_are_no_burden() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut observe = |second, packets, answered| {
            let now = start + Duration::from_secs(second);
            meter.observe(now, Traffic { bytes: 0, packets }, answered, LIMITS)
        };
        assert_eq!(observe(0, 7, 5), None);
        assert_eq!(observe(1, 9007, 9005), None, "all of them");
        assert_eq!(observe(2, 9107, 99_005), None, "and another pod's");
        assert_eq!(observe(3, 19_107, 108_006), None, "all but 999");
        assert_eq!(observe(4, 29_107, 117_006), Some(Change::Lift));
    }

    #[test]
    fn the_least_limit_can_be_quiet() {
        let limits = Traffic {
            bytes: 1,
            packets: 1,
        };
        assert!(!Traffic::default().reaches(limits.quiet()));
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
        let mut observe = |now, bytes| meter.observe(now, Traffic { bytes, packets: 0 }, 0, LIMITS);
        assert_eq!(observe(start, 0), None);
        assert_eq!(observe(at(100), 900), None);
        assert_eq!(observe(at(1000), 990), None, "of a second");
        assert_eq!(observe(at(2000), 5), None, "another device");
        assert_eq!(observe(at(3000), 900), None);
        assert_eq!(observe(at(7000), 4900), Some(Change::Lift));
    }
}
