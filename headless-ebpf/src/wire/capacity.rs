//! The size of the largest reply, for each kind of program.

use crate::abi;

/// The size of the largest reply of a program. It is a constant, because it bounds loops: the
/// verifier follows each turn of a loop.
pub trait Capacity {
    /// Most bytes of a DNS message that the engine writes.
    const MESSAGE_MAX: usize;
}

/// Replies of up to 512 bytes, the size for clients without EDNS.
///
/// Generic XDP can grow a packet by about 216 bytes at its front and by 200 to 350 bytes at its
/// end, so that larger replies would often fail.
#[derive(Clone, Copy, Debug)]
pub enum Small {}

impl Capacity for Small {
    const MESSAGE_MAX: usize = 512;
}

/// Replies of up to 4096 bytes, the most that clients usually take (RFC 6891, section 6.2.5).
#[derive(Clone, Copy, Debug)]
pub enum Large {}

impl Capacity for Large {
    const MESSAGE_MAX: usize = abi::MESSAGE_MAX;
}
