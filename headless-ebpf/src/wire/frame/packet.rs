//! The trait for packets that the engine can answer, and its implementation over memory.

use core::marker::PhantomData;

use super::shape::{Shape, frame_max};
use crate::{
    abi::{Family, InterfaceRecord, PassReason},
    wire::{
        bytes::Image,
        capacity::{Capacity, Large, Small},
    },
};

/// A packet whose Ethernet frame can be replaced by a reply.
///
/// The programs implement this trait over `xdp_md` and `__sk_buff`. [`FramePacket`] implements
/// it over memory.
pub trait Packet {
    /// The largest reply through any packet of this kind.
    type Capacity: Capacity;

    /// Whether a frame can contain a VLAN tag. In tc, the kernel has taken the tag out.
    const TAGS: bool;

    /// Most bytes of a DNS message in a reply through this packet, at most
    /// [`Capacity::MESSAGE_MAX`]. An error says why the packet cannot carry a reply.
    #[inline(always)]
    fn message_capacity(&mut self, _family: Family) -> Result<usize, PassReason> {
        Ok(Self::Capacity::MESSAGE_MAX)
    }

    /// Whether a query that would be answered is only counted, and passes. Asked after
    /// [`Self::message_capacity`].
    #[inline(always)]
    fn is_observed(&self) -> bool {
        false
    }

    /// Bytes from the Ethernet header to the frame's end, padding included.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `N` bytes. `None` where the frame is shorter.
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]>;

    /// The byte at this offset. `None` where the frame ends before it.
    fn byte(&self, at: usize) -> Option<u8>;

    /// Copies the first `len` bytes of the frame into `image`, to [`Shape::at`]. `len` is from 32
    /// to [`super::FRAME_MAX`]. Returns `false` where the frame is shorter than `len`.
    #[must_use]
    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool;

    /// Gives the frame `len` bytes. After `true` the frame's content is undefined, and
    /// [`Self::store`] must follow. After `false` the frame is unchanged.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;

    /// Writes the frame of `len` bytes at [`Shape::at`] of `image` into the packet, which
    /// [`Self::resize`] has given this length. `false` is a bug: the packet is lost.
    #[must_use]
    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool;
}

/// A frame in memory, for tests, fuzzers and replays.
///
/// [`FramePacket::new`] makes one with the capacity of the XDP program, [`FramePacket::large`] one
/// with the capacity of the tc program. Both then give the answers of their program.
#[derive(Debug)]
pub struct FramePacket<'a, C = Small> {
    buffer: &'a mut [u8],
    len: usize,
    mtu: u32,
    observed: bool,
    capacity: PhantomData<C>,
}

impl<'a> FramePacket<'a> {
    /// The first `len` bytes of `buffer` as a frame, which can grow to the size of the buffer.
    /// `None` where the buffer is shorter than `len`.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        Self::of(buffer, len, u32::MAX)
    }
}

impl<'a> FramePacket<'a, Large> {
    /// The first `len` bytes of `buffer` as a frame that arrives at the tc program of an interface
    /// with this MTU. `None` where the buffer is shorter than `len`.
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
            observed: false,
            capacity: PhantomData,
        })
    }

    /// The same frame, on an interface that is only observed.
    #[must_use]
    pub fn observed(self) -> Self {
        Self {
            observed: true,
            ..self
        }
    }

    /// The frame's present bytes.
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

    fn is_observed(&self) -> bool {
        self.observed
    }

    fn len(&self) -> usize {
        self.len
    }

    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        self.frame().first_chunk()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.frame().get(at).copied()
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
