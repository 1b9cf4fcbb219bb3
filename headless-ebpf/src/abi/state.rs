//! The agent's state, which the agent writes once a second and around changes of names.

use bytemuck::{Pod, Zeroable};

use super::digest::describe;

/// The agent's state: the deadline, and whether the maps are complete and stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// The deadline: the programs answer until this time, `CLOCK_MONOTONIC` in nanoseconds. The
    /// agent moves it forward once a second.
    pub deadline_ns: u64,
    /// Serial of the SOA record: unix time of the last change in seconds.
    pub serial: u32,
    /// [`Self::COMPLETE`], [`Self::YIELDING`], [`Self::PASSES`] and [`Self::PASS_NAMES`] in the
    /// lowest bits, the generation in all others, see [`Self::denies_since`].
    pub flags: u32,
}

const _: () = assert!(size_of::<State>() == 16);

describe!(State {
    deadline_ns: u64,
    serial: u32,
    flags: u32,
});

impl State {
    /// The maps hold the whole cluster, but for the names that yield: every watch has synced, and
    /// every write has succeeded. Without this bit, a name that is not in the maps may exist, and
    /// the programs deny nothing.
    pub const COMPLETE: u32 = 1;

    /// Some namespace has names that the maps do not hold. Its record has
    /// [`super::NameFlags::ENDPOINTS_UNKNOWN`]. With this bit, the programs read the record of a
    /// name's namespace before they deny the name.
    pub const YIELDING: u32 = 1 << 1;

    /// Questions for names in the zone pass: CoreDNS may answer them otherwise.
    pub const PASS_ZONE: u32 = 1 << 2;

    /// Questions for names in the zone that do not exist pass.
    pub const PASS_NXDOMAIN: u32 = 1 << 3;

    /// Questions to which the answer would be a denial pass.
    pub const PASS_DENIALS: u32 = 1 << 4;

    /// Questions for reverse names pass.
    pub const PASS_REVERSE: u32 = 1 << 5;

    /// The bits of all parts of the questions that can pass because of CoreDNS's configuration
    /// ([`super::PassReason::Corefile`]).
    pub const PASSES: u32 =
        Self::PASS_ZONE | Self::PASS_NXDOMAIN | Self::PASS_DENIALS | Self::PASS_REVERSE;

    /// Questions for the names in [`super::Config::passed`] pass for the same reason.
    pub const PASS_NAMES: u32 = 1 << 6;

    /// The lowest bit of the generation. The agent writes over names that exist while the
    /// generation is odd, so while this bit is set. New names are written and old ones deleted in
    /// any generation.
    pub const GENERATION: u32 = 1 << 7;

    /// Whether a look-up between the reads of `before` and `self` proves that a name does not
    /// exist: no name was being written over at `before`, and none has been since.
    ///
    /// A look-up in a hash map can miss a name while it is replaced. The name's old element is
    /// given to another key, and the look-up does not go back to the new element, which comes
    /// earlier in the bucket (`lookup_nulls_elem_raw` in kernel/bpf/hashtab.c).
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

    #[test]
    fn nothing_is_denied_across_the_first_and_the_last_yield() {
        let yielding = State {
            flags: State::COMPLETE | State::YIELDING,
            ..State::default()
        };
        let whole = State {
            flags: State::COMPLETE,
            ..yielding
        };
        assert!(yielding.denies_since(yielding));
        assert!(!yielding.denies_since(whole) && !whole.denies_since(yielding));
        let turned = State {
            flags: u32::MAX,
            ..yielding
        };
        let next = turned.next_generation().flags;
        assert_eq!(next, State::GENERATION - 1, "a generation of zero");
    }
}
