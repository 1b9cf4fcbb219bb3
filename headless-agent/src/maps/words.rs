//! Arrays of words that the BPF programs read while the agent writes them.
//!
//! An array map with `BPF_F_MMAPABLE` is memory that both sides share (kernel commit
//! `fc9702273e2e`), so a write is a store instead of a system call. Tests have the same
//! arrays on the heap.
//!
//! The map of a `BPF_F_MMAPABLE` array is the only memory that the agent shares with
//! the kernel, and this module holds the only `unsafe` code of the agent.

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
    /// The first `len` words of a BPF array map with the flag `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// What `mmap` says: `EINVAL` or `ENOTSUPP` where the map lacks the flag or is
    /// shorter than `len` words.
    pub fn map(map: impl AsFd, len: usize) -> io::Result<Self> {
        Mapping::new(map, len).map(|mapping| Self(Home::Kernel(mapping)))
    }

    /// `len` words of zero on the heap.
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

    /// The word at `index`; zero behind the end. The agent is the only writer, so its
    /// own reads need no order.
    pub fn get(&self, index: usize) -> u64 {
        let word = self.words().get(index);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The `N` words of the element at `index`, where all elements have `N` words.
    pub fn element<const N: usize>(&self, index: u32) -> [u64; N] {
        let mut element = [0; N];
        let words = self.words().get(index as usize * N..).unwrap_or_default();
        for (to, from) in element.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed);
        }
        element
    }

    /// Writes the words from `index` on, in no order: readers may see some of them
    /// before others. Words behind the end are left out.
    pub fn put(&self, index: usize, words: &[u64]) {
        let places = self.words().get(index..).unwrap_or_default();
        for (to, from) in places.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    /// Writes one word after everything that was written before: a reader that sees it
    /// sees what it leads to.
    pub fn publish(&self, index: usize, word: u64) {
        if let Some(place) = self.words().get(index) {
            place.store(word, Ordering::Release);
        }
    }
}

#[expect(
    unsafe_code,
    reason = "memory that is shared with the kernel can only be had by mmap"
)]
mod mapping {
    use std::os::fd::AsFd;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::AtomicU64;
    use std::{io, slice};

    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    /// The beginning of a BPF array map in the agent's memory.
    #[derive(Debug)]
    pub(super) struct Mapping {
        start: NonNull<AtomicU64>,
        len: usize,
    }

    // SAFETY: the memory belongs to this value alone, is shared only as atomic words,
    // and may be unmapped by any thread.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        /// Maps the first `len` words of a map.
        pub(super) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
            // `mmap` takes no length of zero; its pages are whole ones anyway.
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
            // SAFETY: `new` has mapped this many words, to be read and written, at the
            // begin of a page and hence aligned; they stay until `drop`. BPF programs
            // read them as whole words (`READ_ONCE`), nobody writes them but through
            // these atomics, or system calls, which copy whole words as well.
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            let bytes = (self.len * size_of::<AtomicU64>()).max(1);
            // SAFETY: mapped by `new`, and no reference outlives this value.
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
