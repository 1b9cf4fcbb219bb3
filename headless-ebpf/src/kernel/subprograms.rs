//! The working memory of this CPU, and the subprograms that share it.

use core::{arch::asm, cell::Cell};

use aya_ebpf::{macros::map, maps::PerCpuArray};
use headless_ebpf::{
    abi::PassReason,
    maps::Lookup,
    respond::{Runtime, Scratch, Subprogram},
    wire::{Capacity, Large, Small},
};

use super::{globals, maps::Maps};

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// How many programs use, or want to use, the working memory of a CPU.
#[map]
static BUSY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The working memory of this CPU, which a program claims once it needs it.
///
/// XDP and tc run with bottom halves disabled, so that packets on one CPU are processed one
/// after the other. On kernels with `PREEMPT_RT` bottom halves can be interrupted by
/// others, so that the memory may be in use ([`globals::preemptible`]).
pub(crate) struct PerCpu {
    claimed: Cell<bool>,
}

/// The claimed memory.
pub(crate) struct Claimed(*mut Scratch);

impl PerCpu {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            claimed: Cell::new(false),
        }
    }

    /// Claims the memory. It is claimed at most once, until [`Self::release`].
    #[inline(always)]
    pub(crate) fn claim(&self) -> Result<Claimed, PassReason> {
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return Err(PassReason::Map);
        };
        if globals::preemptible() {
            self.claim_busy()?;
        }
        Ok(Claimed(scratch))
    }

    /// Whoever counts from 0 to 1 has the memory; all others go back. Kernel 5.10 knows no
    /// atomic addition that returns the old value (5.12 does), so that the new value is read
    /// behind it. In between another program may add one: then both see 2, and neither
    /// has the memory.
    #[inline(always)]
    fn claim_busy(&self) -> Result<(), PassReason> {
        let Some(busy) = busy() else {
            return Err(PassReason::Map);
        };
        // SAFETY: an element of a map, which other programs change, hence volatile.
        unsafe {
            add(busy, 1);
            if busy.read_volatile() != 1 {
                add(busy, -1);
                return Err(PassReason::Busy);
            }
        }
        self.claimed.set(true);
        Ok(())
    }

    /// Gives the memory back.
    #[inline(always)]
    pub(crate) fn release(&self) {
        if self.claimed.get()
            && let Some(busy) = busy()
        {
            // SAFETY: an element of a map.
            unsafe { add(busy, -1) };
        }
    }
}

#[inline(always)]
fn busy() -> Option<*mut u64> {
    BUSY.get_ptr_mut(0)
}

/// Adds to a counter in one instruction, which no other program can interrupt.
///
/// `core`'s atomics want one that returns the old value.
///
/// # Safety
/// The counter is an element of a map.
#[inline(always)]
unsafe fn add(counter: *mut u64, number: i64) {
    // SAFETY: as promised, it is aligned to eight bytes and lives as long as the map.
    unsafe {
        asm!("lock *(u64 *)({} + 0) += {}", in(reg) counter, in(reg) number, options(nostack));
    }
}

impl Runtime for Claimed {
    #[inline(always)]
    fn scratch(&mut self) -> &mut Scratch {
        // SAFETY: the memory is this program's own until it is released: there is one
        // `Claimed`, from which one reference is borrowed at a time. A subprogram makes a
        // reference of its own while `call` borrows `self`, so that none is lent then.
        unsafe { &mut *self.0 }
    }

    #[inline(always)]
    fn call<C: Capacity, L: Lookup>(&mut self, subprogram: Subprogram, _lookup: &L) -> u64 {
        match subprogram {
            Subprogram::Below => headless_below(0),
            Subprogram::Srv if C::MESSAGE_MAX == Small::MESSAGE_MAX => headless_srv_small(0),
            Subprogram::Srv => headless_srv_large(0),
            Subprogram::Ptr => headless_ptr(0),
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_below(_unused: u64) -> u64 {
    run::<Small>(Subprogram::Below)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_srv_small(_unused: u64) -> u64 {
    run::<Small>(Subprogram::Srv)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_srv_large(_unused: u64) -> u64 {
    run::<Large>(Subprogram::Srv)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_ptr(_unused: u64) -> u64 {
    run::<Small>(Subprogram::Ptr)
}

#[inline(always)]
fn run<C: Capacity>(subprogram: Subprogram) -> u64 {
    match SCRATCH.get_ptr_mut(0) {
        // SAFETY: a subprogram is called by `Claimed::call` alone, whose caller has claimed
        // the memory and holds no reference to it.
        Some(scratch) => subprogram.run::<C, Maps>(unsafe { &mut *scratch }, &Maps),
        None => u64::MAX,
    }
}
