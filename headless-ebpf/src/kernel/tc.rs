//! [`Packet`] over `__sk_buff`.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_INVALIDATE_HASH, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{
        bpf_redirect, bpf_redirect_peer, bpf_skb_change_tail, bpf_skb_change_type,
        bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use headless_ebpf::{
    abi::{Family, InterfaceRecord, PassReason},
    respond::VerdictCode,
    verifier,
    wire::{
        IMAGE_CAPACITY, Image, Large,
        frame::{HEADERS_MAX, MESSAGE, Packet, Shape, partial_checksum},
    },
};

use super::maps::{head, interface};

/// `PACKET_HOST` (`include/uapi/linux/if_packet.h`).
const PACKET_HOST: u32 = 0;

/// From a message back to the checksum in the UDP header before it.
const CHECKSUM_BEFORE: usize = 2;

/// What an offset in the image is cut to, so that the verifier knows that it is one.
const AT_MASK: usize = 127;

const _: () = assert!(MESSAGE <= AT_MASK);

/// A packet as tc sees it: a socket buffer, whose bytes need not be in one piece.
pub(crate) struct SkbPacket<'a> {
    ctx: &'a TcContext,
    /// What is known of it once [`Packet::message_capacity`] was asked, before that nothing. Not an
    /// `Option`, whose value the compiler may look at before it knows that there is one:
    /// it was never written, and the verifier before 6.3 refuses the program.
    interface: InterfaceRecord,
}

/// A length that the compiler knows to be from 1 to [`IMAGE_CAPACITY`], so that the
/// verifier knows it, too: one before 6.8 learns nothing from a comparison with 0,
/// and none remembers one that was made before 1 is added.
#[inline(always)]
fn nonzero(len: usize) -> u32 {
    (verifier::opaque(len.wrapping_sub(1)) & (IMAGE_CAPACITY - 1)) as u32 + 1
}

impl<'a> SkbPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext) -> Self {
        Self {
            ctx,
            interface: InterfaceRecord::default(),
        }
    }

    /// Whether this is several datagrams that a device is to take apart: sent with
    /// `UDP_SEGMENT`, or joined by GRO. Their lengths are not those of their
    /// headers, and the checksums are not made yet.
    #[inline(always)]
    fn is_joined(&self) -> bool {
        // SAFETY: the context is the kernel's and lives as long as `self`.
        unsafe { (&raw const (*self.ctx.skb.skb).gso_size).read_volatile() != 0 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.ctx.skb.skb).ifindex).read_volatile() }
    }

    #[inline(always)]
    fn change_tail(&mut self, len: usize) -> bool {
        // SAFETY: the context is the kernel's; no pointer into the packet is held
        // across the call.
        unsafe { bpf_skb_change_tail(self.ctx.as_ptr().cast(), len as u32, 0) == 0 }
    }

    #[inline(always)]
    fn store_bytes(&mut self, at: usize, from: *const u8, len: usize, flags: u64) -> bool {
        // SAFETY: `from` has `len` bytes, as the verifier proves.
        unsafe {
            let skb = self.ctx.as_ptr().cast();
            bpf_skb_store_bytes(skb, at as u32, from.cast(), nonzero(len), flags) == 0
        }
    }

    /// What the kernel is to do with the packet.
    ///
    /// A reply goes to the other end of the veth. `bpf_redirect_peer` puts it there
    /// at once, as if it had been received there; it drops what comes from a device
    /// without a peer, and where both ends are in one namespace (`skb_do_redirect`
    /// in net/core/filter.c), which is what [`InterfaceRecord::has_peer`] is about. It leaves
    /// the packet's type as it came (until kernel commit `c43272299488`), and IP drops
    /// what was for another host, as it is where the interface is a bridge's port. `bpf_redirect` sends from this
    /// device: the type is set anew by the other end (`____dev_forward_skb`), which
    /// drops what exceeds its MTU, and an unfinished checksum may be finished on
    /// the way.
    #[inline(always)]
    pub(crate) fn action(&self, verdict: VerdictCode) -> i32 {
        if verdict.is_lost() {
            return TC_ACT_SHOT;
        }
        if !verdict.is_answer() {
            return TC_ACT_UNSPEC;
        }
        let ifindex = self.ifindex();
        // SAFETY: the context is the kernel's.
        unsafe {
            if self.interface.has_peer() {
                bpf_skb_change_type(self.ctx.as_ptr().cast(), PACKET_HOST);
                bpf_redirect_peer(ifindex, 0) as i32
            } else {
                bpf_redirect(ifindex, 0) as i32
            }
        }
    }
}

impl Packet for SkbPacket<'_> {
    type Capacity = Large;

    /// `skb_vlan_untag` comes before tc, and what sends a packet puts the tag in again.
    const TAGS: bool = false;

    #[inline(always)]
    fn message_capacity(&mut self, family: Family) -> Result<usize, PassReason> {
        if self.is_joined() {
            return Err(PassReason::Length);
        }
        let Some(interface) = interface(self.ifindex()) else {
            return Err(PassReason::Map);
        };
        self.interface = interface;
        Ok(interface.message_capacity(family))
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        let skb = self.ctx.skb.skb;
        // SAFETY: the context is the kernel's and lives as long as `self`. The
        // linear part has the N bytes, as compared, and they stay where they are
        // until `resize`, which borrows mutably.
        unsafe {
            let data = (&raw const (*skb).data).read_volatile() as usize;
            let data_end = (&raw const (*skb).data_end).read_volatile() as usize;
            if data + N <= data_end {
                return Some(&*(data as *const [u8; N]));
            }
        }
        const { assert!(N <= HEADERS_MAX) };
        let head = head()?;
        // SAFETY: there is room for the N bytes. They are written again only with
        // the same bytes.
        unsafe {
            let loaded = bpf_skb_load_bytes(skb.cast(), 0, head.cast(), N as u32);
            (loaded == 0).then(|| &*head.cast::<[u8; N]>())
        }
    }

    #[inline(always)]
    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool {
        let to = image.as_mut_slice()[shape.at() & AT_MASK..].as_mut_ptr();
        // SAFETY: the image has room for the longest frame.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr().cast(), 0, to.cast(), nonzero(len)) == 0 }
    }

    /// Makes the packet linear, private and of this length, or leaves it alone.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        self.change_tail(len)
    }

    #[inline(always)]
    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool {
        // Whether the kernel takes the checksum for one that is yet to be made, which
        // no helper tells and none ends, shows in what it lets a packet be cut to: not
        // to less than the checksum field (`__bpf_skb_min_len`). What was cut fits in
        // again, since the buffer stays.
        let checksum_at = shape.headers_len() - CHECKSUM_BEFORE;
        let is_partial = !self.change_tail(checksum_at + 1);
        if !is_partial && !self.change_tail(len) {
            return false;
        }
        let from = image.as_slice()[shape.at() & AT_MASK..].as_ptr();
        if !self.store_bytes(0, from, len, u64::from(BPF_F_INVALIDATE_HASH)) {
            return false;
        }
        if !is_partial {
            return true;
        }
        let sum = partial_checksum(image, shape, len);
        self.store_bytes(checksum_at, (&raw const sum).cast(), size_of_val(&sum), 0)
    }
}
