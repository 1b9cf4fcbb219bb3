//! [`Packet`] over `xdp_md`.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use headless_ebpf::wire::{
    IMAGE_CAPACITY, Image, Small,
    frame::{FRAME_MAX, Packet, Shape},
};

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

/// Bytes that are copied at a time.
const STRIDE: usize = 64;

/// Bytes that are copied at a time of frames that are shorter. None that is read or written
/// is shorter than this.
const HALF: usize = STRIDE / 2;

/// Strides of the longest frame.
const STRIDES_MAX: usize = FRAME_MAX / STRIDE;

/// Half a stride.
type Words = [u64; HALF / 8];

/// # Safety
/// There are [`HALF`] bytes to be read.
#[inline(always)]
unsafe fn read(from: usize) -> Words {
    // SAFETY: as promised.
    unsafe { (from as *const Words).read_unaligned() }
}

/// # Safety
/// There are [`HALF`] bytes to be written.
#[inline(always)]
unsafe fn write(to: usize, words: Words) {
    // SAFETY: as promised.
    unsafe { (to as *mut Words).write_unaligned(words) };
}

/// Visits the offsets of blocks that cover `len` bytes together: whole strides from the
/// front, then the last one once more; of a short frame its first and its last half. So
/// there is no loop over single bytes, whatever the length. `copy` gets an offset and the
/// number of bytes, [`STRIDE`] or [`HALF`].
#[inline(always)]
fn each_block(len: usize, mut copy: impl FnMut(usize, usize) -> bool) -> bool {
    if len < STRIDE {
        let last = len.wrapping_sub(HALF) & (HALF - 1);
        return copy(0, HALF) && copy(last, HALF);
    }
    for i in 0..STRIDES_MAX {
        if (i + 1) * STRIDE > len {
            break;
        }
        if !copy(i * STRIDE, STRIDE) {
            return false;
        }
    }
    copy((len - STRIDE) & (IMAGE_CAPACITY - 1), STRIDE)
}

impl Packet for XdpPacket<'_> {
    type Capacity = Small;

    const TAGS: bool = true;

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
    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool {
        let at = shape.at();
        let (data, data_end) = self.bounds();
        each_block(len, |offset, bytes| {
            let from = data + offset;
            if from + bytes > data_end {
                return false;
            }
            let Some(to) = image.window_mut::<STRIDE>(at + offset) else {
                return false;
            };
            for half in 0..bytes / HALF {
                // SAFETY: the packet has these bytes, as just compared.
                let words = unsafe { read(from + half * HALF) };
                put_words(to, half * HALF, words);
            }
            true
        })
    }

    /// Generic XDP has always some 216 bytes of room before a packet
    /// (`XDP_PACKET_HEADROOM` less the frame's own record) and 200 to 350 behind
    /// it. The caller writes the whole frame, so it does not matter at which end
    /// it grows: before, which costs less, else behind, else at both ends.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        let (Ok(wanted), Ok(has)) = (i32::try_from(len), i32::try_from(self.len())) else {
            return false;
        };
        let delta = wanted - has;
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
    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool {
        let at = shape.at();
        let (data, data_end) = self.bounds();
        each_block(len, |offset, bytes| {
            let to = data + offset;
            if to + bytes > data_end {
                return false;
            }
            let Some(from) = image.window::<STRIDE>(at + offset) else {
                return false;
            };
            for half in 0..bytes / HALF {
                // SAFETY: the packet has these bytes, as just compared.
                unsafe { write(to + half * HALF, words_at(from, half * HALF)) };
            }
            true
        })
    }
}

/// The words of half a stride.
#[inline(always)]
fn words_at(from: &[u8; STRIDE], at: usize) -> Words {
    match from[at..].as_chunks().0.first_chunk() {
        Some(words) => words.map(u64::from_le_bytes),
        None => [0; HALF / 8],
    }
}

/// Writes half a stride.
#[inline(always)]
fn put_words(to: &mut [u8; STRIDE], at: usize, words: Words) {
    if let Some(to) = to[at..].as_chunks_mut().0.first_chunk_mut() {
        *to = words.map(u64::to_le_bytes);
    }
}
