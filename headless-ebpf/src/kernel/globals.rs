//! Global variables that the agent's loader sets before the verifier runs. The verifier treats
//! them as constants and removes the code that they switch off, so that it costs nothing.

/// Whether the programs log.
#[unsafe(no_mangle)]
static LOG: u8 = 0;

/// Whether one program can interrupt another one on the same CPU: on kernels with
/// `PREEMPT_RT`, where `/sys/kernel/realtime` is 1.
#[unsafe(no_mangle)]
static PREEMPTIBLE: u8 = 0;

/// Whether the processor may reorder two loads. All processors but x86 may.
#[unsafe(no_mangle)]
static WEAKLY_ORDERED: u8 = 0;

#[inline(always)]
fn is_set(global: *const u8) -> bool {
    // SAFETY: the pointer is the address of one of the variables above. The read is volatile,
    // because otherwise the compiler would insert the initial value.
    unsafe { global.read_volatile() != 0 }
}

/// Whether the programs log.
#[inline(always)]
pub(crate) fn logging() -> bool {
    is_set(&raw const LOG)
}

/// Whether another program can interrupt this one on the same CPU.
#[inline(always)]
pub(super) fn preemptible() -> bool {
    is_set(&raw const PREEMPTIBLE)
}

/// Whether two loads need a barrier between them to happen in order.
#[inline(always)]
pub(super) fn weakly_ordered() -> bool {
    is_set(&raw const WEAKLY_ORDERED)
}
