//! Numbers that the loader sets before the programs are verified. The verifier then
//! removes the code that is never reached, so that it costs nothing.

/// Whether the programs log.
#[unsafe(no_mangle)]
static LOG: u8 = 0;

/// Whether one program can interrupt another one on the same CPU: on kernels with
/// `PREEMPT_RT`, where `/sys/kernel/realtime` is 1.
#[unsafe(no_mangle)]
static PREEMPTIBLE: u8 = 0;

/// Whether the processor may carry out two loads in another order than they stand in the
/// program: all but x86 do.
#[unsafe(no_mangle)]
static WEAKLY_ORDERED: u8 = 0;

#[inline(always)]
fn is_set(global: *const u8) -> bool {
    // SAFETY: read-only memory of the object. Volatile, because the compiler
    // must not take the initial value for the value.
    unsafe { global.read_volatile() != 0 }
}

/// Whether to log.
#[inline(always)]
pub(crate) fn logging() -> bool {
    is_set(&raw const LOG)
}

/// Whether another program may use this CPU's memory at the same time.
#[inline(always)]
pub(super) fn preemptible() -> bool {
    is_set(&raw const PREEMPTIBLE)
}

/// Whether loads need a barrier to be carried out in order.
#[inline(always)]
pub(super) fn weakly_ordered() -> bool {
    is_set(&raw const WEAKLY_ORDERED)
}
