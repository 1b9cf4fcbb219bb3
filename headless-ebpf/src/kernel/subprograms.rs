//! The working memory of a CPU, and the subprograms that share it with the programs.

use core::cell::Cell;

use aya_ebpf::{macros::map, maps::PerCpuArray};
use headless_ebpf::{
    abi::PassReason,
    maps::Lookup,
    respond::{Runtime, Scratch, Subprogram},
    wire::{Capacity, Large, Small},
};

use super::{
    globals,
    maps::{Maps, add},
};

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Number of programs that have claimed or try to claim the working memory of a CPU. Used only
/// where programs can interrupt each other.
#[map]
static BUSY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Claims and releases the working memory of this CPU for one packet.
///
/// XDP and tc run with bottom halves disabled, so that one CPU processes one packet after the
/// other, and the memory is free. On kernels with `PREEMPT_RT`, one bottom half can interrupt
/// another one, so that the memory may be in use ([`globals::preemptible`]).
pub(crate) struct PerCpu {
    /// Whether [`BUSY`] counts this program.
    claimed: Cell<bool>,
}

/// The claimed working memory.
pub(crate) struct Claimed(*mut Scratch);

impl PerCpu {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            claimed: Cell::new(false),
        }
    }

    /// Claims the memory until [`Self::release`]. [`PassReason::Busy`] where another program on
    /// this CPU has claimed it.
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

    /// Adds one to [`BUSY`]. The program that counts from 0 to 1 has the memory, every other
    /// program takes its one back.
    ///
    /// Kernel 5.10 has no atomic addition that returns the old value (5.12 has), so that the
    /// counter is read after the addition. If another program adds one in between, both read 2,
    /// and neither has the memory.
    #[inline(always)]
    fn claim_busy(&self) -> Result<(), PassReason> {
        let Some(busy) = busy() else {
            return Err(PassReason::Map);
        };
        // SAFETY: the pointer leads to an element of a map. The read is volatile, since other
        // programs change the element.
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

    /// Releases the memory.
    #[inline(always)]
    pub(crate) fn release(&self) {
        if self.claimed.get()
            && let Some(busy) = busy()
        {
            // SAFETY: the pointer leads to an element of a map.
            unsafe { add(busy, -1) };
        }
    }
}

/// This CPU's counter of claims.
#[inline(always)]
fn busy() -> Option<*mut u64> {
    BUSY.get_ptr_mut(0)
}

impl Runtime for Claimed {
    #[inline(always)]
    fn scratch(&mut self) -> &mut Scratch {
        // SAFETY: the memory belongs to this program until it is released. There is one
        // `Claimed`, and it lends one reference at a time. A subprogram makes a reference of
        // its own while `call` borrows `self`, so that no other reference exists meanwhile.
        unsafe { &mut *self.0 }
    }

    #[inline(always)]
    fn call<C: Capacity, L: Lookup>(&mut self, subprogram: Subprogram, _lookup: &L) -> u64 {
        match subprogram {
            Subprogram::Below => headless_below(0),
            Subprogram::Srv if C::MESSAGE_MAX == Small::MESSAGE_MAX => headless_srv_small(0),
            Subprogram::Srv => headless_srv_large(0),
            Subprogram::Ptr => headless_ptr(0),
            Subprogram::Options => headless_options(0),
            Subprogram::Passed => headless_passed(0),
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

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_options(_unused: u64) -> u64 {
    run::<Small>(Subprogram::Options)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_passed(_unused: u64) -> u64 {
    run::<Small>(Subprogram::Passed)
}

/// Runs a subprogram in this CPU's working memory, over the maps.
#[inline(always)]
fn run<C: Capacity>(subprogram: Subprogram) -> u64 {
    match SCRATCH.get_ptr_mut(0) {
        // SAFETY: only `Claimed::call` calls a subprogram. Its caller has claimed the memory and
        // holds no reference to it.
        Some(scratch) => subprogram.run::<C, Maps>(unsafe { &mut *scratch }, &Maps),
        None => u64::MAX,
    }
}
