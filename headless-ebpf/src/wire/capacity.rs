//! How large replies can become.

use crate::abi;

/// The size of the largest reply of a program, known when the program is built: it bounds
/// loops, which the verifier follows turn by turn.
pub trait Capacity {
    /// Most bytes of a DNS message that the engine writes.
    const MESSAGE_MAX: usize;
}

/// Replies of up to 512 bytes, for clients without EDNS.
///
/// Generic XDP can grow a packet by some 200 to 350 bytes at its tail and by about
/// 216 at its head, so that more could not be promised.
#[derive(Clone, Copy, Debug)]
pub enum Small {}

impl Capacity for Small {
    const MESSAGE_MAX: usize = 512;
}

/// Replies of up to 4096 bytes, the most that clients usually take (RFC 6891,
/// section 6.2.5).
#[derive(Clone, Copy, Debug)]
pub enum Large {}

impl Capacity for Large {
    const MESSAGE_MAX: usize = abi::MESSAGE_MAX;
}
