//! The keyed hash for buckets, tags and seals.
//!
//! Everybody who may create objects in the cluster chooses names. With a public hash, an attacker
//! could make names that share buckets and tags with another name and push it into the slower
//! hash map, or records that pass for the other name's record while an element is reused. So the
//! hash has a secret key. The agent draws it when it makes the maps and stores it in
//! [`super::Config`] only.

use core::fmt;

use bytemuck::{Pod, Zeroable};

/// Number of the first word of a key, which has at most 31 words.
pub const HASH_NAME: usize = 0;

/// Number of the first word of a [`super::NameRecord`], which has six words.
pub const HASH_RECORD: usize = HASH_NAME + 31;

/// Number of the word with the identity of a [`super::Chunk`]. The chunk's 14 words follow.
pub const HASH_CHUNK: usize = HASH_RECORD + 6;

/// Number of the word of an [`super::EndpointEntry`].
pub const HASH_ENDPOINT: usize = HASH_CHUNK + 1 + 14;

/// Number of the word of a served address.
pub const HASH_SERVED: usize = HASH_ENDPOINT + 1;

/// Number of the first word of an address in [`super::map::REVERSE`], which has two words.
pub const HASH_REVERSE: usize = HASH_SERVED + 1;

/// Words of a [`HashKey`]: two for each number of a word.
pub const HASH_WORDS: usize = 2 * (HASH_REVERSE + 2);

/// The secret key: 128 random bits for each number of a word.
///
/// No log, metric or dump may show the key. Its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct HashKey([u64; HASH_WORDS]);

impl HashKey {
    /// The key with these words, which must come from the system's random source (getrandom).
    pub const fn new(words: [u64; HASH_WORDS]) -> Self {
        Self(words)
    }

    /// The key that `SplitMix64` makes from a number, for tests and fixtures, which need the same
    /// key each time.
    pub const fn from_seed(seed: u64) -> Self {
        let mut words = [0; HASH_WORDS];
        let mut state = seed;
        let mut i = 0;
        while i < HASH_WORDS {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            words[i] = mixed ^ mixed >> 31;
            i += 1;
        }
        Self(words)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// A hash that takes in words one by one.
///
/// The hash is the sum, modulo 2^64, of `(word + first) * (upper half of word + second)` over all
/// words. `first` and `second` are the key's words for the number of the word. This is NH of UMAC
/// (RFC 4418, section 5.2), in the form that costs the fewest instructions without 32-bit
/// registers. The order in which words are taken in does not matter, their numbers do. The
/// processor can calculate the products of a sum at the same time.
///
/// An attacker who does not know the key makes two inputs collide, or differ by a chosen number,
/// with a probability of at most 2^-33. Proof: say that two inputs differ in a word. If the upper
/// halves differ by `d`, the difference of the products has the term `first * d`. If only the
/// lower halves differ by `d`, the difference has the term `second * d`. In both cases, `d` is
/// not zero and less than 2^32. So at most 2^31 of the 2^64 values of this word of the key give
/// the chosen difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyedHash {
    sum: u64,
}

impl KeyedHash {
    /// The hash that has taken in no word.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { sum: 0 }
    }

    /// Takes in `word` under `number`, one of the constants `HASH_*` plus the word's position.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, key: &HashKey, number: usize, word: u64) -> Self {
        let whole = word.wrapping_add(key.0[2 * number]);
        let upper = (word >> 32).wrapping_add(key.0[2 * number + 1]);
        Self {
            sum: self.sum.wrapping_add(whole.wrapping_mul(upper)),
        }
    }

    /// Takes in `words` under the numbers from `first` on.
    #[must_use]
    pub fn words(self, key: &HashKey, first: usize, words: &[u64]) -> Self {
        (first..)
            .zip(words)
            .fold(self, |hash, (number, word)| hash.word(key, number, *word))
    }

    /// The sum so far. [`Self::resume`] makes the hash from it again.
    #[inline(always)]
    pub const fn sum(self) -> u64 {
        self.sum
    }

    /// The hash with this [`Self::sum`].
    #[inline(always)]
    pub const fn resume(sum: u64) -> Self {
        Self { sum }
    }

    /// The hash value. Each of its bits depends on all bits of the sum (the first half of
    /// `SplitMix64`'s finalizer, with shifts by half a word).
    #[inline(always)]
    pub const fn finish(self) -> u64 {
        let mixed = self.mixed();
        mixed ^ mixed >> 32
    }

    /// The upper half of [`Self::finish`], which costs fewer instructions.
    #[inline(always)]
    pub const fn finish_half(self) -> u32 {
        (self.mixed() >> 32) as u32
    }

    #[inline(always)]
    const fn mixed(self) -> u64 {
        (self.sum ^ self.sum >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

/// The index of the bucket for 32 bits of a hash, of `count` buckets. 0 where `count` is 0.
///
/// The index is a product, so that `count` need not be a power of two (Lemire, "Fast random
/// integer generation in an interval").
#[inline(always)]
pub(super) const fn bucket(hash: u32, count: u32) -> u32 {
    ((hash as u64 * count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{format, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn of(key: &HashKey, words: &[u64]) -> u64 {
        KeyedHash::new().words(key, 0, words).finish()
    }

    #[test]
    fn every_bit_of_every_word_counts() {
        let key = HashKey::from_seed(1);
        let words = [0x0123_4567_89ab_cdef, 0, u64::MAX, 42, 7, 0, 1, 2, 3];
        let whole = of(&key, &words);
        for place in 0..words.len() {
            for bit in 0..64 {
                let mut other = words;
                other[place] ^= 1 << bit;
                let other = of(&key, &other);
                assert_ne!(other as u32, whole as u32, "bit {bit} of word {place}");
                assert_ne!(other >> 32, whole >> 32, "bit {bit} of word {place}");
            }
        }
    }

    #[test]
    fn the_place_of_a_word_counts() {
        let key = HashKey::from_seed(1);
        assert_ne!(of(&key, &[1, 2]), of(&key, &[2, 1]));
    }

    #[test]
    fn resumes_where_it_was() {
        let key = HashKey::from_seed(9);
        let hash = KeyedHash::new().word(&key, 0, 1).word(&key, 1, 2);
        let resumed = KeyedHash::resume(hash.sum());
        assert_eq!(hash.word(&key, 2, 3), resumed.word(&key, 2, 3));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", HashKey::from_seed(1)), "HashKey(..)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// A collision of 16 bits is easily found under one key. It does not help under other
        /// keys.
        #[test]
        fn collisions_do_not_carry_over(seed: u64, first: [u64; 5]) {
            let key = HashKey::from_seed(seed);
            let tag = |key: &HashKey, words: &[u64; 5]| of(key, words) as u16;
            let wanted = tag(&key, &first);
            let collide: Vec<_> = (1..=1_000_000_u64)
                .map(|i| [first[0] ^ i, first[1], first[2] ^ i << 40, first[3], first[4]])
                .filter(|words| tag(&key, words) == wanted)
                .take(8)
                .collect();
            prop_assert!(!collide.is_empty());
            let keys = (1..=64).map(|i| HashKey::from_seed(seed.wrapping_add(i)));
            let again: usize = keys
                .map(|key| {
                    let wanted = tag(&key, &first);
                    collide.iter().filter(|words| tag(&key, words) == wanted).count()
                })
                .sum();
            // One pair in 65,536 collides by chance, so that three of 512 practically never do.
            prop_assert!(again < 3, "{again} of {} pairs collide under other keys", 64 * collide.len());
        }
    }
}
