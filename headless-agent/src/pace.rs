//! How often something may happen: a burst, and then once in a while.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A limit: `burst` at once, and one more after each `every`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The most at once.
    pub burst: u32,
    /// The time after which one more may happen.
    pub every: Duration,
}

impl Pace {
    /// The time in which an empty bucket fills.
    fn window(self) -> Duration {
        self.every * self.burst
    }
}

/// A bucket of tokens, as the time at which it is full again (the generic cell rate
/// algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a token. Returns whether there was one.
    pub fn take(&mut self, pace: Pace, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + pace.every;
        let allowed = full_at - now <= pace.window();
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }

    /// The time from which the bucket has a token.
    pub fn next_at(&self, pace: Pace) -> Instant {
        let wait = self.full_at + pace.every;
        wait.checked_sub(pace.window()).unwrap_or(wait)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// A bucket for each key. The number of keys is bounded: where it is reached and no bucket is
/// full, further keys share one bucket.
#[derive(Debug)]
pub struct Buckets<K> {
    pace: Pace,
    keys_max: usize,
    by_key: HashMap<K, Bucket>,
    shared: Option<Bucket>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets for up to `keys_max` keys.
    pub fn new(pace: Pace, keys_max: usize) -> Self {
        Self {
            pace,
            keys_max,
            by_key: HashMap::new(),
            shared: None,
        }
    }

    /// Takes a token of the key. Returns whether there was one.
    pub fn take<Q>(&mut self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let Self {
            pace,
            keys_max,
            by_key,
            shared,
        } = self;
        if let Some(bucket) = by_key.get_mut(key) {
            return bucket.take(*pace, now);
        }
        if by_key.len() >= *keys_max {
            // A full bucket is as good as none.
            by_key.retain(|_, bucket| !bucket.is_full(now));
        }
        if by_key.len() >= *keys_max {
            let shared = shared.get_or_insert_with(|| Bucket::new(now));
            return shared.take(*pace, now);
        }
        let mut bucket = Bucket::new(now);
        let taken = bucket.take(*pace, now);
        by_key.insert(key.to_owned(), bucket);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        burst: 3,
        every: Duration::from_secs(10),
    };

    #[test]
    fn a_burst_is_followed_by_one_token_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut taken = |seconds| bucket.take(PACE, start + Duration::from_secs(seconds));
        let times = [0, 0, 0, 0, 9, 10, 10, 19, 20, 1000, 1000, 1000, 1000];
        let expected = [1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0];
        assert_eq!(times.map(&mut taken).map(u8::from), expected);
    }

    #[test]
    fn a_token_is_there_from_the_time_that_the_bucket_names() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::new(start);
        assert!(bucket.next_at(PACE) <= start);
        let mut now = start;
        for _ in 0..10 {
            while bucket.take(PACE, now) {}
            let next = bucket.next_at(PACE);
            assert!(next > now);
            let before = next.checked_sub(Duration::from_nanos(1));
            assert!(before.is_some_and(|before| !bucket.take(PACE, before)));
            assert!(bucket.take(PACE, next));
            now = next;
        }
    }

    #[test]
    fn keys_do_not_take_from_each_other_and_their_number_is_bounded() {
        let start = Instant::now();
        let mut buckets = Buckets::<String>::new(PACE, 2);
        for _ in 0..3 {
            assert!(buckets.take("evil", start));
        }
        assert!(!buckets.take("evil", start));
        assert!(buckets.take("good", start));
        // No room: the others share a bucket.
        for _ in 0..3 {
            assert!(buckets.take("late", start));
        }
        assert!(!buckets.take("later", start));
        assert_eq!(buckets.by_key.len(), 2);
        // The first two are full again and make room.
        let later = start + Duration::from_secs(30);
        assert!(buckets.take("later", later));
        assert_eq!(buckets.by_key.len(), 1);
    }
}
