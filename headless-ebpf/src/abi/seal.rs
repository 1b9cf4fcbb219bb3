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
