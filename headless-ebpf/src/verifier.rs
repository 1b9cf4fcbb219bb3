//! How the engine stays small for the kernel's verifier.
//!
//! Before a program runs, the verifier walks through all ways that it can take and
//! proves each access to memory. It gives up after a million instructions. Where two
//! ways reach the same instruction, it goes on only if they know different things there:
//! each way out of a loop leaves it with another range for the number that the loop
//! compared, and without care it follows each of them to the program's end.
//!
//! Six habits keep the engine below that limit. The operations for them are here, and
//! nothing outside of this module talks to the compiler or the verifier.
//!
//! 1. **Numbers that a loop compares go through memory.** The verifier knows nothing about
//!    a number that it reads from a map. A number that is written to the working memory and
//!    read again ([`reread`], [`Slot`]) is the same on all ways, so that they meet there.
//!    This is why intermediate results such as [`crate::wire::dns::Question`] are
//!    structures in the working memory.
//! 2. **Masks instead of branches where a length decides.** [`mask`] reads the mask for a
//!    word from a constant table. A branch for each word would double the ways each time.
//!    [`following`] is the successor in a ring without a branch.
//! 3. **Numbers that follow from a choice are calculated**, or lie in a map already
//!    ([`crate::abi::InterfaceRecord`]): `present * LEN` rather than `if present { LEN } else { 0
//!    }`. Each branch's number would go through every loop behind it.
//! 4. **Pointers into the packet are read anew after each loop** (`kernel/xdp.rs`), since a
//!    pointer carries what the loop proved about the packet's length.
//! 5. **The stack is short**: 512 bytes for a program and the function that it calls, and
//!    kernel 5.10 counts each function in steps of 32 bytes. Structures lie in the working
//!    memory, subprograms call nothing themselves, and the compiler is kept from holding
//!    values back on the stack ([`again`], [`in_order`]).
//! 6. **Rare questions are subprograms** ([`crate::respond::Subprogram`]): functions with
//!    global linkage, which the verifier checks once and not on every way that leads to
//!    them. They take no pointers and return one number.
//!
//! `core::hint::black_box` would do instead of the empty instructions below, but goes by
//! the stack: a store, and a load that waits for it. The operand of the empty instructions
//! is in `r0`: a template that names its operand is not empty, and the compiler then
//! records a source line for no instruction, which the kernel refuses.

#[cfg(target_arch = "bpf")]
use core::arch::asm;

/// The same number, of which the compiler knows nothing, so that it does not leave out a
/// mask by which the verifier knows that an access is inside.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: no instruction.
        unsafe { asm!("", inout("r0") number, options(pure, nomem, nostack)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// The same place in memory, of whose content the compiler knows nothing: what was
/// written before is written, and what is read behind is read. The verifier then knows
/// nothing about the numbers that are read.
#[inline(always)]
pub fn reread<T>(place: &mut T) -> &mut T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer: *mut T = place;
        // SAFETY: no instruction; the pointer is the one of `place`, which is borrowed
        // as long as the result.
        unsafe {
            asm!("", inout("r0") pointer, options(nostack));
            &mut *pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    place
}

/// The same place in memory, but the compiler does not know that it is the same: it reads
/// numbers again that it has read there before, instead of keeping them on the stack.
#[inline(always)]
#[cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the compiler must forget the address alone, nothing is read there"
    )
)]
pub fn again<T>(place: &T) -> &T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer: *const T = place;
        // SAFETY: no instruction; the pointer is the one of `place`, which is borrowed
        // as long as the result.
        unsafe {
            asm!("", inout("r0") pointer, options(pure, nomem, nostack));
            &*pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    place
}

/// Accesses to memory before this line come before those behind it. Without it the
/// compiler begins many calculations at once and keeps their numbers on the stack.
#[inline(always)]
pub fn in_order() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: no instruction.
    unsafe {
        asm!("", options(nostack));
    }
}

/// A place in the working memory where a number is put down and read again.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Slot(u64);

impl Slot {
    /// The same number, of which neither compiler nor verifier knows anything.
    #[inline(always)]
    pub fn forget(&mut self, number: usize) -> usize {
        self.0 = number as u64;
        self.get()
    }

    /// The number once more, of which again nothing is known.
    #[inline(always)]
    pub fn get(&mut self) -> usize {
        reread(self).0 as usize
    }
}

/// Bytes of the longest name, to which lengths for [`mask`] are cut.
const MASK_BYTES: usize = 256;

/// As many zeroes as a name has bytes, then ones.
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

/// The mask that keeps those of the eight bytes at `offset` that come before `len`:
/// `offset` is at most 248, of `len` the lowest eight bits count.
///
/// The mask is a window into a table, which moves right as `len` grows. It is read back to
/// front, because the verifier follows offsets that grow with a length, but none that
/// shrink.
#[inline(always)]
pub fn mask(len: usize, offset: usize) -> u64 {
    let from = (MASK_BYTES - 8 - offset + (len & 0xff)) & (2 * MASK_BYTES - 1);
    match MASKS.0.get(from..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => 0,
    }
}

/// The position after this one in a ring of `count` positions.
#[inline(always)]
pub fn following(position: u32, count: u32) -> u32 {
    let next = position as usize + 1;
    // The compiler would see a comparison in the sign of a difference.
    let difference = opaque(next.wrapping_sub(count as usize));
    let is_inside = (difference.cast_signed() >> (usize::BITS - 1)).cast_unsigned();
    (next & is_inside) as u32
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
    fn a_ring_has_no_end() {
        for count in 1..100 {
            for position in 0..count {
                assert_eq!(following(position, count), (position + 1) % count);
            }
        }
    }

    #[test]
    fn a_slot_gives_back_its_number() {
        let mut slot = Slot::default();
        assert_eq!(slot.forget(7), 7);
        assert_eq!(slot.get(), 7);
    }
}
