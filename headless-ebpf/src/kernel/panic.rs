//! The panic handler, which the compiler requires and no program contains.

/// Loops forever. The verifier refuses a program that can reach this loop, so that a loaded
/// program cannot panic.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
