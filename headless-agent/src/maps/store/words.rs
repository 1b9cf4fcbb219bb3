//! Arrays of words that the BPF programs read while the agent writes them.
//!
//! The agent maps a BPF array with the flag `BPF_F_MMAPABLE` into its own memory (kernel
//! commit `fc9702273e2e`). So a write is a store instead of a system call. Tests have the
//! same arrays on the heap.
//!
//! The agent shares no other memory with the kernel. This module has the only `unsafe` code
//! of the agent.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use self::mapping::Mapping;

/// An array of words. Programs on other CPUs may read each word at any time.
#[derive(Debug)]
pub struct Words(Home);

#[derive(Debug)]
enum Home {
    Kernel(Mapping),
    Heap(Box<[AtomicU64]>),
}

impl Words {
    /// Maps the first `len` words of a BPF array with the flag `BPF_F_MMAPABLE` into memory.
    ///
    /// # Errors
    /// The error of mmap(2): `EINVAL` or `ENOTSUPP` if the array lacks the flag or has
    /// fewer than `len` words.
    pub fn map(map: impl AsFd, len: usize) -> io::Result<Self> {
        Mapping::new(map, len).map(|mapping| Self(Home::Kernel(mapping)))
    }

    /// Makes `len` words of zero on the heap.
    pub fn zeroed(len: usize) -> Self {
        Self(Home::Heap((0..len).map(|_| AtomicU64::new(0)).collect()))
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.0 {
            Home::Kernel(mapping) => mapping.words(),
            Home::Heap(words) => words,
        }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words().len()
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The word at `index`, or zero behind the end. The agent is the only writer, so its
    /// own reads need no memory order.
    pub fn get(&self, index: usize) -> u64 {
        let word = self.words().get(index);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The `N` words of the element at `index`, if all elements have `N` words. Words
    /// behind the end are zero.
    pub fn element<const N: usize>(&self, index: u32) -> [u64; N] {
        let mut element = [0; N];
        let words = self.words().get(index as usize * N..).unwrap_or_default();
        for (to, from) in element.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed);
        }
        element
    }

    /// Writes words from `index` on, without memory order: a reader may see a later word
    /// before an earlier one. Words behind the end are left out.
    pub fn put(&self, index: usize, words: &[u64]) {
        let places = self.words().get(index..).unwrap_or_default();
        for (to, from) in places.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    /// Writes one word with release order: a reader that sees the word sees all earlier
    /// writes, so also the element to which the word leads.
    pub fn publish(&self, index: usize, word: u64) {
        if let Some(place) = self.words().get(index) {
            place.store(word, Ordering::Release);
        }
    }
}

#[expect(
    unsafe_code,
    reason = "memory that the agent shares with the kernel comes from mmap"
)]
mod mapping {
    use std::os::fd::AsFd;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::AtomicU64;
    use std::{io, slice};

    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    /// The first words of a BPF array in the agent's memory.
    #[derive(Debug)]
    pub(super) struct Mapping {
        start: NonNull<AtomicU64>,
        len: usize,
    }

    // SAFETY: only this value owns the mapping, other threads get references to atomic
    // words only, and any thread may unmap the memory.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        /// Maps the first `len` words of an array into memory.
        pub(super) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
            // mmap(2) refuses a length of zero, and rounds up to whole pages.
            let bytes = (len * size_of::<AtomicU64>()).max(1);
            // SAFETY: the kernel chooses an address at which nothing is mapped.
            let start = unsafe {
                mmap(
                    ptr::null_mut(),
                    bytes,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED,
                    map,
                    0,
                )?
            };
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { start, len })
        }

        pub(super) fn words(&self) -> &[AtomicU64] {
            // SAFETY: `new` has mapped this many words for reading and writing. They begin
            // at a page, so they are aligned, and stay mapped until `drop`. BPF programs
            // only read them, as whole words. Everybody in this process writes them through
            // these atomics. The kernel's system calls copy whole words, too.
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            let bytes = (self.len * size_of::<AtomicU64>()).max(1);
            // SAFETY: `new` has mapped this memory, and no reference outlives this value.
            let unmapped = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
            debug_assert!(unmapped.is_ok(), "{unmapped:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lie_one_after_the_other() {
        let words = Words::zeroed(6);
        words.put(2, &[1, 2]);
        words.publish(5, 9);
        assert_eq!(words.element::<2>(1), [1, 2]);
        assert_eq!(words.element::<3>(1), [2, 0, 9]);
        assert_eq!((words.get(3), words.get(5)), (2, 9));
    }

    #[test]
    fn nothing_is_behind_the_end() {
        let words = Words::zeroed(3);
        words.put(2, &[7, 8]);
        words.publish(3, 9);
        assert_eq!((words.get(2), words.get(3), words.len()), (7, 0, 3));
        assert_eq!(words.element::<2>(1), [7, 0], "half an element");
        assert_eq!(words.element::<2>(9), [0, 0]);
    }
}
