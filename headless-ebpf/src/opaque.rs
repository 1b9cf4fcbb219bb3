//! What neither compiler nor verifier may know.
//!
//! `core::hint::black_box` goes by the stack: a store, and a load that waits for it. On
//! the BPF target these are empty instructions that the compiler cannot see through.
//! Their operand is in `r0`, since a template that names it is no longer empty, and the
//! compiler then records a source line for no instruction, which the kernel refuses.

#[cfg(target_arch = "bpf")]
use core::arch::asm;

/// `value`, of which the compiler knows nothing: it cannot leave out the mask by which
/// the verifier knows that an access is inside.
#[inline(always)]
pub fn number(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: no instruction.
        unsafe { asm!("", inout("r0") value, options(pure, nomem, nostack)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// The same place, of which the compiler does not know what is in it: what was written
/// is written, and what is read is read again, which the verifier then knows nothing
/// about.
#[inline(always)]
pub fn memory<T>(place: &mut T) -> &mut T {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer: *mut T = place;
        // SAFETY: no instruction; the pointer is the one of `place`, which is borrowed
        // as long as what is returned.
        unsafe {
            asm!("", inout("r0") pointer, options(nostack));
            &mut *pointer
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    place
}
