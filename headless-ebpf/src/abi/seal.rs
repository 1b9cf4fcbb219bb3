//! The proof that a map value belongs to the key it was looked up by.
//!
//! An element that an update or a delete frees is reused at once, even under a
//! program that still reads it (kernel commit `fba1a1c6c912`, "bpf: Convert
//! hash map to `bpf_mem_alloc`"; preallocated maps always did). So a value is
//! copied first and believed only when its seal, computed over the key and the
//! copied words, is the one stored in it: a mixture of two values, or the value
//! of another key, fails.

/// A running 64-bit sum over words, each times a multiplier of its place, seeded
/// per installation.
///
/// Not cryptographic: it guards against races, while *which* name is meant is
/// decided by comparing whole keys, which the map itself does. A sum, because
/// its products do not wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    sum: u64,
    multiplier: u64,
}

impl Seal {
    /// Odd, with well-spread bits (the 64-bit golden ratio).
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Starts a seal from the installation's seed ([`super::Config::seal_seed`]).
    #[inline(always)]
    pub const fn new(seed: u64) -> Self {
        Self::resume(seed, 0)
    }

    /// Takes in one word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        Self {
            sum: self.sum.wrapping_add(word.wrapping_mul(self.multiplier)),
            multiplier: self.multiplier.wrapping_mul(Self::MULTIPLIER),
        }
    }

    /// The sum so far; with the number of words it is the whole seal.
    #[inline(always)]
    pub const fn sum(self) -> u64 {
        self.sum
    }

    /// The seal after `words` words, from its [`Self::sum`].
    #[inline(always)]
    pub const fn resume(sum: u64, words: usize) -> Self {
        let mut multiplier = Self::MULTIPLIER;
        let mut i = 0;
        while i < words {
            multiplier = multiplier.wrapping_mul(Self::MULTIPLIER);
            i += 1;
        }
        Self { sum, multiplier }
    }

    /// The upper half, which every bit of every word changes.
    #[inline(always)]
    pub const fn finish(self) -> u32 {
        (self.sum >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[u64]) -> u32 {
        words
            .iter()
            .fold(Seal::new(0x5eed), |seal, word| seal.word(*word))
            .finish()
    }

    #[test]
    fn every_bit_of_every_word_counts() {
        let words = [0x0123_4567_89ab_cdef, 0, u64::MAX, 42, 7, 0, 1, 2, 3];
        let whole = of(&words);
        for place in 0..words.len() {
            for bit in 0..64 {
                let mut other = words;
                other[place] ^= 1 << bit;
                assert_ne!(of(&other), whole, "bit {bit} of word {place}");
            }
        }
    }

    #[test]
    fn the_order_of_words_counts() {
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
    }

    #[test]
    fn resumes_where_it_was() {
        let seal = Seal::new(9).word(1).word(2);
        let resumed = Seal::resume(seal.sum(), 2);
        assert_eq!(seal.word(3).finish(), resumed.word(3).finish());
    }
}
