//! How large a reply can become.

use super::HEADERS_MAX;

/// The size of the largest reply, known when the program is built: it bounds
/// loops, which the verifier follows turn by turn.
pub trait Room {
    /// Most bytes of a DNS message that the engine writes.
    const MESSAGE_MAX: usize;

    /// Most bytes of a frame that the engine writes.
    const FRAME_MAX: usize = HEADERS_MAX + Self::MESSAGE_MAX;
}

/// Replies of up to 512 bytes, for clients without EDNS.
///
/// Generic XDP can grow a packet by some 200 to 350 bytes at its tail and by about
/// 216 at its head, so that more could not be promised.
#[derive(Clone, Copy, Debug)]
pub enum Small {}

impl Room for Small {
    const MESSAGE_MAX: usize = 512;
}

/// Replies of up to 4096 bytes, the most that clients usually take (RFC 6891,
/// section 6.2.5).
#[derive(Clone, Copy, Debug)]
pub enum Large {}

impl Room for Large {
    const MESSAGE_MAX: usize = 4096;
}
