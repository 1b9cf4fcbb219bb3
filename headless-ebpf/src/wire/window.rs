//! Cutting words off where a name ends.

/// As many zeroes as a name has bytes, then ones: a window into it masks a word
/// of the name without a branch. Branches on the length would be as many ways
/// through the program as there are words.
#[derive(Debug)]
pub struct Window([u8; 2 * NAME_BYTES + 8]);

const NAME_BYTES: usize = 256;

/// The one there is.
pub static WINDOW: Window = Window::new();

impl Window {
    const fn new() -> Self {
        let mut bytes = [0xff; 2 * NAME_BYTES + 8];
        let mut i = 0;
        while i < NAME_BYTES {
            bytes[i] = 0;
            i += 1;
        }
        Self(bytes)
    }

    /// A mask for the eight bytes at `offset`, of which those before `len` are
    /// to stay.
    ///
    /// The window moves right as the length grows, and is read back to front:
    /// the verifier takes offsets that grow, but none that shrink.
    #[inline(always)]
    pub fn first(&self, len: usize, offset: usize) -> u64 {
        let from = (NAME_BYTES - 8 - offset + (len & 0xff)) & (2 * NAME_BYTES - 1);
        match self.0.get(from..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_masks_what_is_past_the_name() {
        for len in 0..NAME_BYTES {
            for word in 0..31 {
                let kept = len.saturating_sub(word * 8).min(8);
                let mask = if kept == 8 {
                    u64::MAX
                } else {
                    (1 << (8 * kept)) - 1
                };
                assert_eq!(
                    WINDOW.first(len, word * 8),
                    mask,
                    "{len} bytes, word {word}"
                );
            }
        }
    }
}
