//! Whether CoreDNS's pods have been replaced since its Corefile changed.

use std::collections::BTreeSet;
use std::time::Duration;

/// The UIDs of pods.
pub type Uids = BTreeSet<Box<str>>;

/// How long after a change a pod of CoreDNS may start and still read the old text. The kubelet
/// writes the new text into the files of a pod within 90 seconds. Half a minute is for the pod's
/// address, which the API server learns after the pod has started.
pub const FRESH: Duration = Duration::from_mins(2);

/// The pods that may go by the old text, and whether all of them are known.
///
/// A container that restarts keeps the UID of its pod. It reads the new text, and counts as old
/// all the same.
#[derive(Clone, Debug)]
pub struct Replacement {
    fresh: Duration,
    old: Uids,
    all_known: bool,
}

impl Replacement {
    /// Pods that are seen until `fresh` after the change, and by the first look after that, may go
    /// by the old text. [`FRESH`] is right in a cluster.
    pub fn new(fresh: Duration) -> Self {
        Self {
            fresh,
            old: Uids::new(),
            all_known: false,
        }
    }

    /// Takes the pods that exist `age` after the change. Returns whether every old one is gone and
    /// another is there.
    ///
    /// Where no pod has been seen, the first ones count as old: the Service may have been gone
    /// for a moment, and not its pods.
    pub fn see(&mut self, pods: &Uids, age: Duration) -> bool {
        if self.all_known {
            return !pods.is_empty() && pods.is_disjoint(&self.old);
        }
        self.old.extend(pods.iter().cloned());
        self.all_known = age >= self.fresh && !self.old.is_empty();
        false
    }

    /// Whether no further pod will count as old.
    pub fn knows_all(&self) -> bool {
        self.all_known
    }

    /// The number of these pods that may go by the old text.
    pub fn old(&self, pods: &Uids) -> usize {
        pods.intersection(&self.old).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees these pods at these seconds after the change. Returns whether they are replaced, and
    /// how many of them are old.
    fn see(replacement: &mut Replacement, seconds: u64, pods: &str) -> (bool, usize) {
        let pods = pods.split_whitespace().map(Into::into).collect();
        let is_over = replacement.see(&pods, Duration::from_secs(seconds));
        (is_over, replacement.old(&pods))
    }

    #[test]
    fn every_pod_of_the_first_two_minutes_must_be_replaced() {
        let mut replacement = Replacement::new(FRESH);
        for (seconds, pods, is_over, old) in [
            (10, "a b", false, 2),
            // The pods c and d start before the new text is in their files.
            (40, "c d", false, 2),
            (119, "d", false, 1),
            (125, "d e", false, 2),
            (135, "d e f", false, 2),
            (145, "", false, 0),
            (155, "f a", false, 1),
            (165, "f c", false, 1),
            (175, "f g", true, 0),
        ] {
            let seen = see(&mut replacement, seconds, pods);
            assert_eq!(seen, (is_over, old), "{pods} at {seconds} s");
        }
    }

    #[test]
    fn a_look_after_two_minutes_is_needed() {
        let mut replacement = Replacement::new(FRESH);
        assert_eq!(see(&mut replacement, 10, "a"), (false, 1));
        assert_eq!(see(&mut replacement, 300, "b"), (false, 1), "b may be old");
        assert_eq!(see(&mut replacement, 310, "c"), (true, 0));
    }

    #[test]
    fn pods_of_a_service_that_was_gone_for_a_moment_are_old() {
        let mut replacement = Replacement::new(FRESH);
        assert_eq!(see(&mut replacement, 130, ""), (false, 0));
        assert_eq!(see(&mut replacement, 140, "a"), (false, 1));
        assert_eq!(see(&mut replacement, 150, "b"), (true, 0));
    }
}
