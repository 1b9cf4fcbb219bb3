//! Decides when XDP comes off an interface, and when it comes back.
//!
//! Generic XDP copies each TCP segment that a pod sends, which costs a busy pod up to a
//! seventh of its throughput. It also makes room before each packet, which costs a tenth
//! of the time of a small packet. tc costs next to nothing, so a busy interface is left to
//! tc.

use std::time::{Duration, Instant};

/// The shortest time over which a rate is taken, since a rate over less time would be chance.
/// The time between two readings of all interfaces is a little longer.
const WINDOW: Duration = Duration::from_millis(700);

/// How long an interface must be quiet before XDP comes back.
const QUIET: Duration = Duration::from_secs(10);

/// An interface is quiet below the limit divided by this: at a pod whose traffic is
/// about at the limit, XDP should not come and go.
const QUIET_PART: u64 = 2;

/// Traffic that an interface receives from its pod, either in total or in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets; a segment of many kilobytes is one.
    pub packets: u64,
}

/// The growth from `before` to `now` in a second; `None` where the count began anew.
fn per_second(now: u64, before: u64, elapsed: Duration) -> Option<u64> {
    let growth = u128::from(now.checked_sub(before)?);
    u64::try_from(growth * Duration::from_secs(1).as_nanos() / elapsed.as_nanos()).ok()
}

impl Traffic {
    /// Whether this traffic is at one of these limits, or above.
    fn reaches(self, limits: Self) -> bool {
        self.bytes >= limits.bytes || self.packets >= limits.packets
    }

    /// Below this traffic an interface is quiet.
    fn quiet(self) -> Self {
        Self {
            // Not zero, which everything reaches.
            bytes: self.bytes.div_ceil(QUIET_PART),
            packets: self.packets.div_ceil(QUIET_PART),
        }
    }
}

/// A reading of the counts of one interface.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    total: Traffic,
    /// Queries of all pods that had been answered by then.
    answered: u64,
}

/// Measures the traffic of one interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    last: Option<Reading>,
    /// Whether XDP should be off.
    lifted: bool,
    /// Since when XDP is off and the interface quiet.
    quiet_since: Option<Instant>,
}

impl Meter {
    /// Takes a reading and says whether XDP should be off. `total` is the traffic received
    /// until `now`; `limits` are for a second.
    ///
    /// `answered` is the number of queries that the programs had answered by then on all
    /// interfaces: XDP is no burden to these. The programs do not count which interface
    /// they came from, so that while one pod asks very much, another may send as many
    /// packets more.
    pub fn observe(
        &mut self,
        now: Instant,
        total: Traffic,
        answered: u64,
        limits: Traffic,
    ) -> bool {
        let reading = Reading {
            at: now,
            total,
            answered,
        };
        let Some(last) = self.last else {
            self.last = Some(reading);
            return self.lifted;
        };
        if now.saturating_duration_since(last.at) >= WINDOW {
            self.last = Some(reading);
            // Another device may have the same index: then the counts begin anew.
            if let Some(rate) = rate(last, reading) {
                self.decide(last.at, now, rate, limits);
            }
        }
        self.lifted
    }

    /// Decides by the rate between two moments.
    fn decide(&mut self, then: Instant, now: Instant, rate: Traffic, limits: Traffic) {
        if !self.lifted {
            self.lifted = rate.reaches(limits);
            self.quiet_since = None;
        } else if rate.reaches(limits.quiet()) {
            self.quiet_since = None;
        } else {
            let since = *self.quiet_since.get_or_insert(then);
            self.lifted = now.saturating_duration_since(since) < QUIET;
        }
    }
}

/// The traffic in a second between two readings, without the answered queries.
fn rate(before: Reading, now: Reading) -> Option<Traffic> {
    let elapsed = now.at.saturating_duration_since(before.at);
    let packets = per_second(now.total.packets, before.total.packets, elapsed)?;
    let answers = per_second(now.answered, before.answered, elapsed)?;
    Some(Traffic {
        bytes: per_second(now.total.bytes, before.total.bytes, elapsed)?,
        packets: packets.saturating_sub(answers),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Traffic = Traffic {
        bytes: 1000,
        packets: 1000,
    };

    /// A change of what the meter says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Change {
        Lift,
        Restore,
    }

    /// Feeds one rate a second and tells in which seconds something changed.
    fn changes_of(rates: &[u64], traffic: impl Fn(u64) -> Traffic) -> Vec<(usize, Change)> {
        let start = Instant::now();
        let (mut meter, mut total) = (Meter::default(), 77);
        assert!(!meter.observe(start, traffic(total), 0, LIMITS));
        let mut changes = Vec::new();
        let mut before = false;
        for (second, rate) in (1..).zip(rates) {
            total += rate;
            let now = start + Duration::from_secs(second as u64);
            let lifted = meter.observe(now, traffic(total), 0, LIMITS);
            match (before, lifted) {
                (false, true) => changes.push((second, Change::Lift)),
                (true, false) => changes.push((second, Change::Restore)),
                _ => {}
            }
            before = lifted;
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
        assert!(!observe(0, 7, 5));
        assert!(!observe(1, 9007, 9005), "all of them");
        assert!(!observe(2, 9107, 99_005), "and another pod's");
        assert!(!observe(3, 19_107, 108_006), "all but 999");
        assert!(observe(4, 29_107, 117_006));
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
        assert!(!observe(start, 0));
        assert!(!observe(at(100), 900));
        assert!(!observe(at(1000), 990), "of a second");
        assert!(!observe(at(2000), 5), "another device");
        assert!(!observe(at(3000), 900));
        assert!(observe(at(7000), 4900));
    }
}
