//! Where frames come from and go to.

use super::{FRAME_MAX, Image};

/// An Ethernet frame that can be answered in place.
///
/// Implemented for `xdp_md` by the XDP program and for a plain buffer here.
pub trait Packet {
    /// Most bytes that a DNS message can have in a reply through this packet.
    const MESSAGE_MAX: usize;

    /// Bytes from the Ethernet header to the frame's end, padding included.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `N` bytes, `None` where the frame is shorter.
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]>;

    /// Copies the first `len` bytes into `image`, from its offset `AT` on. `len` is
    /// between 16 and [`super::FRAME_MAX`]; `false` where the frame is shorter than
    /// `len`.
    #[must_use]
    fn load<const AT: usize>(&self, image: &mut Image, len: usize) -> bool;

    /// Makes the frame `len` bytes long. On success its content is anything and
    /// [`Self::store`] must follow; on failure (`false`) it is as it was.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;

    /// Replaces the frame, which [`Self::resize`] has given `len` bytes, by the
    /// `len` bytes from `AT` on of `image`. `false` is a bug: the frame is lost.
    #[must_use]
    fn store<const AT: usize>(&mut self, image: &Image, len: usize) -> bool;
}

/// A frame in memory: the packet of host tests, fuzzers and replays.
#[derive(Debug)]
pub struct FramePacket<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> FramePacket<'a> {
    /// The first `len` bytes of `buffer` as a frame that can grow to the size of
    /// the buffer; `None` where the buffer is shorter than `len`.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, len })
    }

    /// The frame as it stands.
    pub fn frame(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Packet for FramePacket<'_> {
    /// What the XDP program promises, so that both give the same answers.
    const MESSAGE_MAX: usize = super::MESSAGE_MAX;

    fn len(&self) -> usize {
        self.len
    }

    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        self.frame().first_chunk()
    }

    fn load<const AT: usize>(&self, image: &mut Image, len: usize) -> bool {
        let (Some(from), Some(to)) = (
            self.frame().get(..len),
            image.as_mut_slice().get_mut(AT..AT + len),
        ) else {
            return false;
        };
        to.copy_from_slice(from);
        true
    }

    fn resize(&mut self, len: usize) -> bool {
        if len > self.buffer.len() || len > FRAME_MAX {
            return false;
        }
        self.len = len;
        true
    }

    fn store<const AT: usize>(&mut self, image: &Image, len: usize) -> bool {
        let (Some(to), Some(from)) = (
            self.buffer.get_mut(..len),
            image.as_slice().get(AT..AT + len),
        ) else {
            return false;
        };
        to.copy_from_slice(from);
        self.len == len
    }
}
