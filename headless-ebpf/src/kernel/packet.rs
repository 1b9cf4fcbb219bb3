//! [`Packet`] over `xdp_md`.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use headless_ebpf::wire::{FRAME_MAX, IMAGE_CAPACITY, Image, MESSAGE_MAX, Packet};

/// A packet as XDP sees it: linear memory between two pointers.
pub(crate) struct XdpPacket<'a> {
    ctx: &'a XdpContext,
}

impl<'a> XdpPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Where the packet begins and ends.
    ///
    /// Read anew each time (volatile): a pointer kept from before a loop
    /// carries what each way through the loop proved of the packet's length,
    /// and the verifier would follow every way to the program's end.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let ctx = self.ctx.ctx;
        // SAFETY: the context is the kernel's and lives as long as `self`.
        unsafe {
            (
                (&raw const (*ctx).data).read_volatile() as usize,
                (&raw const (*ctx).data_end).read_volatile() as usize,
            )
        }
    }

    /// Moves the packet's end by `bytes`; on failure nothing changes.
    #[inline(always)]
    fn grow_behind(&mut self, bytes: i32) -> bool {
        // SAFETY: the context is the kernel's; no pointer into the packet is held
        // across the call.
        unsafe { bpf_xdp_adjust_tail(self.ctx.as_ptr().cast(), bytes) == 0 }
    }

    /// Moves the packet's start by `bytes` to the front; on failure nothing
    /// changes.
    #[inline(always)]
    fn grow_before(&mut self, bytes: i32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_xdp_adjust_head(self.ctx.as_ptr().cast(), -bytes) == 0 }
    }
}

/// Bytes that a packet can always grow at its front.
const GROW_BEFORE: i32 = 192;

/// Words of the longest frame.
const WORDS_MAX: usize = FRAME_MAX / 8;

impl Packet for XdpPacket<'_> {
    const MESSAGE_MAX: usize = MESSAGE_MAX;

    #[inline(always)]
    fn len(&self) -> usize {
        let (data, data_end) = self.bounds();
        data_end - data
    }

    #[inline(always)]
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        let (data, data_end) = self.bounds();
        if data + N > data_end {
            return None;
        }
        // SAFETY: the packet has these N bytes, and they stay where they are
        // until `resize`, which borrows mutably.
        Some(unsafe { &*(data as *const [u8; N]) })
    }

    #[inline(always)]
    fn load(&self, image: &mut Image, len: usize) -> bool {
        let (data, data_end) = self.bounds();
        // Whole words from the front, then the last eight bytes once more: no
        // loop over single bytes, whatever the length.
        for i in 0..WORDS_MAX {
            if i * 8 + 8 > len {
                break;
            }
            let from = data + i * 8;
            if from + 8 > data_end {
                return false;
            }
            // SAFETY: eight bytes of the packet, as just compared.
            image.put_u64(i * 8, unsafe { (from as *const u64).read_unaligned() });
        }
        let last = (len - 8) & (IMAGE_CAPACITY - 1);
        let from = data + last;
        if from + 8 > data_end {
            return false;
        }
        // SAFETY: as above.
        image.put_u64(last, unsafe { (from as *const u64).read_unaligned() });
        true
    }

    /// Generic XDP has always some 216 bytes of room before a packet
    /// (`XDP_PACKET_HEADROOM` less the frame's own record) and 200 to 350 behind
    /// it. The caller writes the whole frame, so it does not matter at which end
    /// it grows: before, which costs less, else behind, else at both ends.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        let delta = len as i32 - self.len() as i32;
        if self.grow_before(delta) || self.grow_behind(delta) {
            return true;
        }
        if delta <= GROW_BEFORE || !self.grow_before(GROW_BEFORE) {
            return false;
        }
        if self.grow_behind(delta - GROW_BEFORE) {
            return true;
        }
        // Nothing was written: the packet is back as it came. Giving room back
        // does not fail.
        self.grow_before(-GROW_BEFORE);
        false
    }

    #[inline(always)]
    fn store(&mut self, image: &Image, len: usize) -> bool {
        let (data, data_end) = self.bounds();
        for i in 0..WORDS_MAX {
            if i * 8 + 8 > len {
                break;
            }
            let to = data + i * 8;
            if to + 8 > data_end {
                return false;
            }
            // SAFETY: eight bytes of the packet, as just compared.
            unsafe { (to as *mut u64).write_unaligned(image.u64_at(i * 8)) };
        }
        let last = (len - 8) & (IMAGE_CAPACITY - 1);
        let to = data + last;
        if to + 8 > data_end {
            return false;
        }
        // SAFETY: as above.
        unsafe { (to as *mut u64).write_unaligned(image.u64_at(last)) };
        true
    }
}
