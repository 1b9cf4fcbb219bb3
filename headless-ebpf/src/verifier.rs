//! The operations that keep the engine small for the kernel's verifier.
//!
//! Before a program is loaded, the verifier follows every control-flow path through the
//! program and proves each memory access. It gives up after a million instructions. Where two
//! paths reach the same instruction, the verifier drops the second one if the first one has
//! proved everything for all values that the numbers can have on the second one. Else it
//! follows both. On each exit of a loop, the number that the loop compares has another range.
//! Without care, the verifier follows each exit to the end of the program.
//!
//! Six habits keep the engine below the limit. Their operations are in this module. No other
//! module of the library has unsafe code or influences the compiler.
//!
//! 1. **Numbers that a loop compares go through memory.** The verifier knows nothing about a
//!    number that a program reads from a map. So a number that is written to the working
//!    memory and read again ([`reread`], [`Slot`]) looks the same on all paths, and the paths
//!    join. This is why intermediate results such as [`crate::wire::dns::Question`] are
//!    structures in the working memory.
//! 2. **Masks replace branches that depend on a length.** [`mask`] reads the mask for a word
//!    from a constant table. A branch for each word would double the number of paths with each
//!    word. [`ones_if_zero`] and [`ones_if_below`] make a mask of a comparison, and
//!    [`next_in_ring`] finds the next position in a ring with such a mask.
//! 3. **Numbers that depend on a choice are calculated** or are stored in a map beforehand
//!    ([`crate::abi::InterfaceRecord`]). An example: `present * LEN` replaces `if present { LEN
//!    } else { 0 }`. With a branch, each number would lead to a path of its own through every
//!    later loop.
//! 4. **Pointers into the packet are read again after each loop** (`kernel/xdp.rs`). A pointer
//!    from before the loop keeps everything that the loop proved about the packet's length.
//! 5. **The stack is short.** A program and the functions that it calls have 512 bytes together,
//!    and kernel 5.10 counts each function in steps of 32 bytes. So structures are in the
//!    working memory, subprograms call no functions, and [`reload`] and [`compiler_barrier`]
//!    keep the compiler from storing values on the stack.
//! 6. **Rare questions are answered by subprograms** ([`crate::respond::Subprogram`]): functions
//!    with global linkage. The verifier checks each of them once, not once for each path that
//!    leads to it. They take no pointers and return one number.
//!
//! The operations are inline assembly without instructions. `core::hint::black_box` would have
//! the same effect but goes through the stack, which costs a store and a load that waits for
//! it. The operand is in the fixed register `r0`, because a template that names its operand is
//! not empty: the compiler then records a source line for an instruction that does not exist,
//! and the kernel refuses the program.

#[cfg(target_arch = "bpf")]
use core::arch::asm;

use bytemuck::Pod;

/// Returns the same number, but the compiler knows nothing about the result.
///
/// The compiler removes a mask that it can prove to be needless. The verifier needs the mask
/// as its proof that an access is in bounds.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: the assembly has no instruction.
        unsafe { asm!("", inout("r0") number, options(pure, nomem, nostack)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// Returns the same reference, but the compiler knows nothing about the content behind it.
///
/// Earlier writes really go to memory, and later reads really come from memory. The verifier
/// then knows nothing about the numbers that are read (habit 1).
#[inline(always)]
pub fn reread<T>(value: &mut T) -> &mut T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer: *mut T = value;
        // SAFETY: the assembly has no instruction, so that the pointer is still the pointer of
        // `value`, which is borrowed as long as the result.
        unsafe {
            asm!("", inout("r0") pointer, options(nostack));
            &mut *pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// Returns the same reference, but the compiler does not know that both are the same.
///
/// The compiler then reads numbers again instead of keeping earlier reads on the stack (habit
/// 5).
#[inline(always)]
#[cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the assembly hides the address only, and reads nothing behind it"
    )
)]
pub fn reload<T>(value: &T) -> &T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer: *const T = value;
        // SAFETY: the assembly has no instruction, so that the pointer is still the pointer of
        // `value`, which is borrowed as long as the result.
        unsafe {
            asm!("", inout("r0") pointer, options(pure, nomem, nostack));
            &*pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// Keeps the compiler from moving memory accesses across this call. Without it, the compiler
/// begins several calculations at once and keeps their numbers on the stack (habit 5).
#[inline(always)]
pub fn compiler_barrier() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the assembly has no instruction.
    unsafe {
        asm!("", options(nostack));
    }
}

/// Sets `value` to zeros, word by word.
///
/// The compiler would call a function for it, which clears single bytes in a loop. The verifier
/// follows that loop byte by byte.
#[inline(always)]
pub fn clear<T: Pod>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let first = (&raw mut *value).cast::<u64>();
    for i in 0..size_of::<T>() / 8 {
        // SAFETY: the value has this many words, and all bits may have any value (`Pod`).
        unsafe { first.add(i).write_volatile(0) };
    }
}

/// A number in the working memory, for habit 1.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Slot(u64);

impl Slot {
    /// Stores the number and reads it again. Neither the compiler nor the verifier knows anything
    /// about the result.
    #[inline(always)]
    pub fn store_and_read(&mut self, number: usize) -> usize {
        self.0 = number as u64;
        self.read()
    }

    /// Reads the stored number, which again neither of the two knows.
    #[inline(always)]
    pub fn read(&mut self) -> usize {
        reread(self).0 as usize
    }
}

/// Lengths for [`mask`] are taken modulo this number. No name is longer.
const MASK_BYTES: usize = 256;

/// [`MASK_BYTES`] bytes of zeros, then bytes of ones.
struct Masks([u8; 2 * MASK_BYTES + 8]);

static MASKS: Masks = Masks::new();

impl Masks {
    const fn new() -> Self {
        let mut bytes = [0xff; 2 * MASK_BYTES + 8];
        let mut i = 0;
        while i < MASK_BYTES {
            bytes[i] = 0;
            i += 1;
        }
        Self(bytes)
    }
}

/// The mask for a word of eight bytes that starts at `offset` of a name. It keeps the bytes of
/// the word that are among the first `len` bytes of the name, and clears the others.
///
/// `offset` is at most 248. Only the lowest eight bits of `len` count.
///
/// The mask is a window into a table. The window moves right as `len` grows, and its bytes are
/// read in reverse order: the verifier can follow an offset that grows with a length, but not
/// one that shrinks.
#[inline(always)]
pub fn mask(len: usize, offset: usize) -> u64 {
    let from = (MASK_BYTES - 8 - offset + (len & 0xff)) & (2 * MASK_BYTES - 1);
    match MASKS.0.get(from..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => 0,
    }
}

/// All bits set where `number` is 0, else 0. A mask made of it chooses between two numbers
/// without a branch (habit 2).
#[inline(always)]
pub fn ones_if_zero(number: u32) -> usize {
    let number = number as usize;
    !ones_if_negative(number | number.wrapping_neg())
}

/// All bits set where `left` is below `right`, else 0. Both are below 2^62.
#[inline(always)]
pub fn ones_if_below(left: usize, right: usize) -> usize {
    ones_if_negative(left.wrapping_sub(right))
}

/// All bits set where `number` is negative as a signed number, else 0. The two highest bits of
/// `number` must be equal.
#[inline(always)]
fn ones_if_negative(number: usize) -> usize {
    // `opaque` twice, since the compiler would turn the sign into a comparison, or the mask into
    // a choice. Both are branches in BPF. Two bits of the sign, since the verifier of newer
    // kernels follows both values of a number that is 0 or -1, as if there were a branch
    // (`maybe_fork_scalars`, kernel commit bffacdb80b93).
    let sign = opaque(number).cast_signed() >> (usize::BITS - 2);
    opaque(sign.cast_unsigned())
}

/// The position after `position` in a ring of `count` positions.
#[inline(always)]
pub fn next_in_ring(position: u32, count: u32) -> u32 {
    let next = position as usize + 1;
    (next & ones_if_below(next, count as usize)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_the_bytes_before_the_end() {
        for len in 0..MASK_BYTES {
            for word in 0..31 {
                let kept = len.saturating_sub(word * 8).min(8);
                let expected = if kept == 8 {
                    u64::MAX
                } else {
                    (1 << (8 * kept)) - 1
                };
                assert_eq!(mask(len, word * 8), expected, "{len} bytes, word {word}");
            }
        }
    }

    #[test]
    fn masks_choose_by_a_comparison() {
        for number in [0, 1, 2, 255, 1 << 31, u32::MAX] {
            let expected = if number == 0 { usize::MAX } else { 0 };
            assert_eq!(ones_if_zero(number), expected, "{number}");
        }
        for (left, right) in [(0, 0), (0, 1), (1, 0), (7, 8), (8, 8), (1 << 61, 1)] {
            let expected = if left < right { usize::MAX } else { 0 };
            assert_eq!(ones_if_below(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn a_ring_has_no_end() {
        for count in 1..100 {
            for position in 0..count {
                assert_eq!(next_in_ring(position, count), (position + 1) % count);
            }
        }
    }

    #[test]
    fn a_slot_gives_back_its_number() {
        let mut slot = Slot::default();
        assert_eq!(slot.store_and_read(7), 7);
        assert_eq!(slot.read(), 7);
    }
}
