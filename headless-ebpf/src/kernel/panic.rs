//! What the compiler wants to see and the verifier never does.

/// A loop without an end: a program from which this could be reached would not
/// load, so that loading proves the absence of panics.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
