//! The proof that a map value belongs to the key it was looked up by.
//!
//! An element that an update or a delete frees is reused at once, even under a
//! program that still reads it (kernel commit `fba1a1c6c912`, "bpf: Convert
//! hash map to `bpf_mem_alloc`"; preallocated maps always did). So a value is
//! copied first and believed only when its seal, computed over the key and the
//! copied words, is the one stored in it: a mixture of two values, or the value
//! of another key, fails.

/// A running 64-bit hash over words, seeded per installation.
///
/// Not cryptographic: it guards against races, while *which* name is meant is
/// decided by comparing whole keys, which the map itself does.
#[derive(Clone, Copy, Debug)]
pub struct Seal(u64);

impl Seal {
    /// Odd, with well-spread bits (the 64-bit golden ratio).
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Starts a seal from the installation's seed ([`super::Config::seal_seed`]).
    #[inline(always)]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Takes in one word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        Self((self.0.rotate_left(23) ^ word).wrapping_mul(Self::MULTIPLIER))
    }

    /// The 32 best-mixed bits.
    #[inline(always)]
    pub const fn finish(self) -> u32 {
        ((self.0 ^ (self.0 >> 29)).wrapping_mul(Self::MULTIPLIER) >> 32) as u32
    }
}
