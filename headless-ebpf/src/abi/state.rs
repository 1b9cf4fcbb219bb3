//! What changes while the programs run.

use bytemuck::{Pod, Zeroable};

use super::digest::describe;

/// Liveness and completeness, as the agent says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// `CLOCK_MONOTONIC` in nanoseconds until which answers may be given; the
    /// agent moves it forward once a second.
    pub deadline_ns: u64,
    /// Serial of the SOA: unix time of the last change in seconds.
    pub serial: u32,
    /// Bits: [`Self::COMPLETE`], above it the generation, see
    /// [`Self::denies_since`].
    pub flags: u32,
}

const _: () = assert!(size_of::<State>() == 16);

describe!(State {
    deadline_ns: u64,
    serial: u32,
    flags: u32,
});

impl State {
    /// The maps hold the whole cluster: every watch has synced and every write
    /// has succeeded. Without it a missing name proves nothing, and negative
    /// answers are withheld.
    pub const COMPLETE: u32 = 1;

    /// One generation. The agent writes names and endpoints in odd generations, which
    /// have this bit set.
    pub const GENERATION: u32 = 1 << 1;

    /// Whether a look-up that found nothing proves that there is nothing: no name was
    /// being written when `before` was read, and none has been written since.
    ///
    /// A look-up may miss a name that is there while the name is replaced: its element
    /// is given to another key, and the elements before it in the bucket are not looked
    /// at again (`lookup_nulls_elem_raw` in kernel/bpf/hashtab.c).
    #[inline(always)]
    pub const fn denies_since(self, before: Self) -> bool {
        before.flags & Self::GENERATION == 0
            && self.flags & !Self::COMPLETE == before.flags & !Self::COMPLETE
    }

    /// The next generation.
    #[must_use]
    pub const fn next_generation(mut self) -> Self {
        self.flags = self.flags.wrapping_add(Self::GENERATION);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_denied_across_a_write() {
        let still = State {
            flags: State::COMPLETE,
            ..State::default()
        };
        let writing = still.next_generation();
        let written = writing.next_generation();
        assert!(still.denies_since(still));
        assert!(!writing.denies_since(still), "a write has begun");
        assert!(!written.denies_since(still), "a write has begun and ended");
        assert!(!writing.denies_since(writing));
        assert!(!written.denies_since(writing), "a write has ended");
        assert!(written.denies_since(written));
    }
}
