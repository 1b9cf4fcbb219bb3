//! Where frames come from and go to.

use core::marker::PhantomData;

use super::shape::{Shape, frame_max};
use crate::{
    abi::{Family, InterfaceRecord, PassReason},
    wire::{
        bytes::Image,
        capacity::{Capacity, Large, Small},
    },
};

/// An Ethernet frame that can be answered in place.
///
/// Implemented for `xdp_md` and `__sk_buff` by the programs and for a plain buffer
/// here.
pub trait Packet {
    /// The largest reply through any packet of this kind.
    type Capacity: Capacity;

    /// Whether VLAN tags stand in the frame. In tc the kernel has taken them out.
    const TAGS: bool;

    /// Most bytes of a DNS message in a reply through this very packet, at most
    /// [`Capacity::MESSAGE_MAX`]; or why there can be no reply.
    #[inline(always)]
    fn message_capacity(&mut self, _family: Family) -> Result<usize, PassReason> {
        Ok(Self::Capacity::MESSAGE_MAX)
    }

    /// Bytes from the Ethernet header to the frame's end, padding included.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `N` bytes, `None` where the frame is shorter.
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]>;

    /// Copies the first `len` bytes to where a frame of this shape starts in `image`.
    /// `len` is between 32 and [`super::FRAME_MAX`]; `false` where the frame is
    /// shorter than `len`.
    #[must_use]
    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool;

    /// Makes the frame `len` bytes long. On success its content is anything and
    /// [`Self::store`] must follow; on failure (`false`) it is as it was.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;

    /// Replaces the frame, which [`Self::resize`] has given `len` bytes, by the
    /// frame of this shape and as many bytes in `image`. `false` is a bug: the frame
    /// is lost.
    #[must_use]
    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool;
}

/// A frame in memory: the packet of host tests, fuzzers and replays.
///
/// Its [`Capacity`] is that of the XDP program, so that both give the same answers,
/// or that of the tc program, see [`FramePacket::large`].
#[derive(Debug)]
pub struct FramePacket<'a, C = Small> {
    buffer: &'a mut [u8],
    len: usize,
    mtu: u32,
    capacity: PhantomData<C>,
}

impl<'a> FramePacket<'a> {
    /// The first `len` bytes of `buffer` as a frame that can grow to the size of
    /// the buffer; `None` where the buffer is shorter than `len`.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        Self::of(buffer, len, u32::MAX)
    }
}

impl<'a> FramePacket<'a, Large> {
    /// The first `len` bytes of `buffer` as the tc program would see them on an interface
    /// of this MTU; `None` where the buffer is shorter than `len`.
    pub fn large(buffer: &'a mut [u8], len: usize, mtu: u32) -> Option<Self> {
        Self::of(buffer, len, mtu)
    }
}

impl<'a, C: Capacity> FramePacket<'a, C> {
    fn of(buffer: &'a mut [u8], len: usize, mtu: u32) -> Option<Self> {
        (len <= buffer.len()).then_some(Self {
            buffer,
            len,
            mtu,
            capacity: PhantomData,
        })
    }

    /// The frame as it stands.
    pub fn frame(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl<C: Capacity> Packet for FramePacket<'_, C> {
    type Capacity = C;

    const TAGS: bool = C::MESSAGE_MAX == Small::MESSAGE_MAX;

    fn message_capacity(&mut self, family: Family) -> Result<usize, PassReason> {
        let capacity = InterfaceRecord::new(self.mtu, false).message_capacity(family);
        Ok(capacity.min(C::MESSAGE_MAX))
    }

    fn len(&self) -> usize {
        self.len
    }

    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        self.frame().first_chunk()
    }

    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool {
        let at = shape.at();
        let (Some(from), Some(to)) = (
            self.frame().get(..len),
            image.as_mut_slice().get_mut(at..at + len),
        ) else {
            return false;
        };
        to.copy_from_slice(from);
        true
    }

    fn resize(&mut self, len: usize) -> bool {
        if len > self.buffer.len() || len > frame_max::<C>() {
            return false;
        }
        self.len = len;
        true
    }

    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool {
        let at = shape.at();
        let (Some(to), Some(from)) = (
            self.buffer.get_mut(..len),
            image.as_slice().get(at..at + len),
        ) else {
            return false;
        };
        to.copy_from_slice(from);
        self.len == len
    }
}
