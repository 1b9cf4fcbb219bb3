//! [`Packet`] over `xdp_md`: the frame is copied in blocks between the packet and the image.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use headless_ebpf::wire::{
    IMAGE_CAPACITY, Image, Small,
    frame::{FRAME_MAX, Packet, Shape},
};

/// A packet in XDP: linear memory between two pointers.
pub(crate) struct XdpPacket<'a> {
    ctx: &'a XdpContext,
}

impl<'a> XdpPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// The addresses of the packet's first byte and of the byte behind its last one.
    ///
    /// The reads are volatile, so that each call reads again (habit 4 of
    /// [`headless_ebpf::verifier`]). A pointer from before a loop keeps what each path through
    /// the loop proved about the packet's length, and the verifier would follow each path to the
    /// end of the program.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let ctx = self.ctx.ctx;
        // SAFETY: the context comes from the kernel and lives as long as `self`.
        unsafe {
            (
                (&raw const (*ctx).data).read_volatile() as usize,
                (&raw const (*ctx).data_end).read_volatile() as usize,
            )
        }
    }

    /// Adds `bytes` to the packet's end, or removes them if negative. Returns `false` where the
    /// kernel refuses, and the packet is then unchanged.
    #[inline(always)]
    fn grow_at_end(&mut self, bytes: i32) -> bool {
        // SAFETY: the context comes from the kernel, and no pointer into the packet lives across
        // the call.
        unsafe { bpf_xdp_adjust_tail(self.ctx.as_ptr().cast(), bytes) == 0 }
    }

    /// Adds `bytes` to the packet's front, or removes them if negative. Returns `false` where the
    /// kernel refuses, and the packet is then unchanged.
    #[inline(always)]
    fn grow_at_front(&mut self, bytes: i32) -> bool {
        // SAFETY: the context comes from the kernel, and no pointer into the packet lives across
        // the call.
        unsafe { bpf_xdp_adjust_head(self.ctx.as_ptr().cast(), -bytes) == 0 }
    }
}

/// Bytes by which a packet can always grow at its front.
const FRONT_GROWTH: i32 = 192;

/// Bytes of a block that is copied at once.
const STRIDE: usize = 64;

/// Bytes of a block in frames that are shorter than [`STRIDE`]. No frame that the engine reads
/// or writes is shorter than this.
const HALF: usize = STRIDE / 2;

/// Blocks of the longest frame.
const STRIDES_MAX: usize = FRAME_MAX / STRIDE;

/// Half a block.
type Words = [u64; HALF / 8];

/// Reads half a block.
///
/// # Safety
/// [`HALF`] bytes can be read at `from`.
#[inline(always)]
unsafe fn read(from: usize) -> Words {
    // SAFETY: the caller promises it.
    unsafe { (from as *const Words).read_unaligned() }
}

/// Writes half a block.
///
/// # Safety
/// [`HALF`] bytes can be written at `to`.
#[inline(always)]
unsafe fn write(to: usize, words: Words) {
    // SAFETY: the caller promises it.
    unsafe { (to as *mut Words).write_unaligned(words) };
}

/// Calls `copy` with the offset and the length of blocks that cover `len` bytes together, until
/// `copy` returns `false`. Returns whether all calls returned `true`.
///
/// A frame of at least [`STRIDE`] bytes has whole blocks from the front, and a last block that
/// ends with the frame and may overlap the block before. A shorter frame has two blocks of
/// [`HALF`] bytes, which may overlap, too. So no loop copies single bytes.
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
        // SAFETY: the comparison says that the packet has the N bytes. They do not move before
        // `resize`, which borrows `self` mutably.
        Some(unsafe { &*(data as *const [u8; N]) })
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        let (data, data_end) = self.bounds();
        let byte = data + at;
        // SAFETY: the comparison says that the packet has the byte.
        (byte < data_end).then(|| unsafe { *(byte as *const u8) })
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
                // SAFETY: the comparison above says that the packet has these bytes.
                let words = unsafe { read(from + half * HALF) };
                put_words(to, half * HALF, words);
            }
            true
        })
    }

    /// Generic XDP always has some 216 free bytes before a packet (`XDP_PACKET_HEADROOM` less
    /// the kernel's record of the frame) and 200 to 350 behind it. The caller writes the whole
    /// frame, so that the packet may grow at any end: at its front, which costs least, else at
    /// its end, else at both.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        let (Ok(wanted), Ok(has)) = (i32::try_from(len), i32::try_from(self.len())) else {
            return false;
        };
        let delta = wanted - has;
        if self.grow_at_front(delta) || self.grow_at_end(delta) {
            return true;
        }
        if delta <= FRONT_GROWTH || !self.grow_at_front(FRONT_GROWTH) {
            return false;
        }
        if self.grow_at_end(delta - FRONT_GROWTH) {
            return true;
        }
        // Undo the growth at the front, which never fails. Nothing was written, so that the
        // packet is again as it came.
        self.grow_at_front(-FRONT_GROWTH);
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
                // SAFETY: the comparison above says that the packet has these bytes.
                unsafe { write(to + half * HALF, words_at(from, half * HALF)) };
            }
            true
        })
    }
}

/// The words of half a block, at `at` of the block.
#[inline(always)]
fn words_at(from: &[u8; STRIDE], at: usize) -> Words {
    match from[at..].as_chunks().0.first_chunk() {
        Some(words) => words.map(u64::from_le_bytes),
        None => [0; HALF / 8],
    }
}

/// Writes the words of half a block, at `at` of the block.
#[inline(always)]
fn put_words(to: &mut [u8; STRIDE], at: usize, words: Words) {
    if let Some(to) = to[at..].as_chunks_mut().0.first_chunk_mut() {
        *to = words.map(u64::to_le_bytes);
    }
}
