//! [`Packet`] over `__sk_buff`, and the action that the tc program returns to the kernel.

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

use super::maps::{count_connection, head, interface};

/// `PACKET_HOST` (`include/uapi/linux/if_packet.h`).
const PACKET_HOST: u32 = 0;

/// Bytes from the checksum in the UDP header to the DNS message.
const CHECKSUM_BEFORE: usize = 2;

/// Mask of the offset in the image at which a frame starts. It proves to the verifier that the
/// offset is in bounds.
const AT_MASK: usize = 127;

const _: () = assert!(MESSAGE <= AT_MASK);

/// A packet in tc: a socket buffer, whose bytes need not be in one piece.
pub(crate) struct SkbPacket<'a> {
    ctx: &'a TcContext,
    /// The record of the packet's interface. [`Packet::message_capacity`] fills it in; before, it
    /// is zero. It is not an `Option`: the compiler may read the value of an `Option` before it
    /// checks that there is one, and the verifier before kernel 6.3 refuses a read of bytes that
    /// were never written.
    interface: InterfaceRecord,
}

/// Returns `len`, which must be from 1 to [`IMAGE_CAPACITY`], in a form from which the verifier
/// knows these bounds. A comparison would not do: the verifier before kernel 6.8 learns nothing
/// from a comparison of `len` with 0, and a comparison of `len - 1` teaches it nothing about
/// `len`.
#[inline(always)]
fn bounded(len: usize) -> u32 {
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

    /// Whether the buffer holds several datagrams, which a device would separate: they were sent
    /// with `UDP_SEGMENT`, or joined by GRO. The lengths in the headers are wrong for them, and
    /// they have no checksums yet.
    #[inline(always)]
    fn is_joined(&self) -> bool {
        // SAFETY: the context comes from the kernel and lives as long as `self`.
        unsafe { (&raw const (*self.ctx.skb.skb).gso_size).read_volatile() != 0 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context comes from the kernel and lives as long as `self`.
        unsafe { (&raw const (*self.ctx.skb.skb).ifindex).read_volatile() }
    }

    /// Makes the packet linear, private and `len` bytes long. Returns `false` where the kernel
    /// refuses, and the packet is then unchanged.
    #[inline(always)]
    fn change_tail(&mut self, len: usize) -> bool {
        // SAFETY: the context comes from the kernel, and no pointer into the packet lives across
        // the call.
        unsafe { bpf_skb_change_tail(self.ctx.as_ptr().cast(), len as u32, 0) == 0 }
    }

    /// Writes `len` bytes to the packet at `at`. Returns whether this succeeded.
    #[inline(always)]
    fn store_bytes(&mut self, at: usize, from: *const u8, len: usize, flags: u64) -> bool {
        // SAFETY: `from` has `len` bytes, which the verifier proves.
        unsafe {
            let skb = self.ctx.as_ptr().cast();
            bpf_skb_store_bytes(skb, at as u32, from.cast(), bounded(len), flags) == 0
        }
    }

    /// Counts a TCP connection to a served address for this packet's interface.
    #[inline(always)]
    pub(crate) fn count_connection(&self) {
        count_connection(self.ifindex());
    }

    /// The action for the kernel, and the redirect of a reply to the other end of the veth.
    ///
    /// - `bpf_redirect_peer` moves the reply to the other end at once, as if it had been received
    ///   there. It drops packets of devices without a peer, and packets whose peer is in the same
    ///   namespace (`skb_do_redirect` in net/core/filter.c): [`InterfaceRecord::has_peer`] leaves
    ///   these out. It does not change the packet's type (until kernel commit `c43272299488`). On
    ///   a port of a bridge the type says "for another host", and IP would drop the reply. So the
    ///   type is set first.
    /// - `bpf_redirect` sends the reply from this device. The other end sets the packet's type
    ///   (`____dev_forward_skb`) and drops packets that exceed its MTU. The kernel may finish an
    ///   unfinished checksum.
    #[inline(always)]
    pub(crate) fn action(&self, verdict: VerdictCode) -> i32 {
        if verdict.is_lost() {
            return TC_ACT_SHOT;
        }
        if !verdict.is_answer() {
            return TC_ACT_UNSPEC;
        }
        let ifindex = self.ifindex();
        // SAFETY: the context comes from the kernel.
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

    /// The kernel takes a VLAN tag out of the frame before tc (`skb_vlan_untag`) and puts the tag
    /// in again when it sends the packet.
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
    fn is_observed(&self) -> bool {
        self.interface.is_observed()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        let skb = self.ctx.skb.skb;
        // SAFETY: the context comes from the kernel and lives as long as `self`. The comparison
        // says that the linear part has the N bytes. They do not move before `resize`, which
        // borrows `self` mutably.
        unsafe {
            let data = (&raw const (*skb).data).read_volatile() as usize;
            let data_end = (&raw const (*skb).data_end).read_volatile() as usize;
            if data + N <= data_end {
                return Some(&*(data as *const [u8; N]));
            }
        }
        const { assert!(N <= HEADERS_MAX) };
        let head = head()?;
        // SAFETY: `head` has at least N bytes. Another call writes the same bytes again.
        unsafe {
            let loaded = bpf_skb_load_bytes(skb.cast(), 0, head.cast(), N as u32);
            (loaded == 0).then(|| &*head.cast::<[u8; N]>())
        }
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        let mut byte = 0_u8;
        let skb = self.ctx.as_ptr().cast();
        // SAFETY: the helper writes one byte.
        let loaded = unsafe { bpf_skb_load_bytes(skb, at as u32, (&raw mut byte).cast(), 1) };
        (loaded == 0).then_some(byte)
    }

    #[inline(always)]
    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool {
        let to = image.as_mut_slice()[shape.at() & AT_MASK..].as_mut_ptr();
        // SAFETY: the image has space for the longest frame behind the masked offset.
        unsafe { bpf_skb_load_bytes(self.ctx.as_ptr().cast(), 0, to.cast(), bounded(len)) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        self.change_tail(len)
    }

    #[inline(always)]
    fn store(&mut self, image: &Image, shape: Shape, len: usize) -> bool {
        // The sender may have left the UDP checksum to a device (`CHECKSUM_PARTIAL`). No helper
        // tells or ends this state. But the kernel does not let such a packet be cut to before
        // the end of the checksum field (`__bpf_skb_min_len`), so that a cut finds it out. The
        // packet can always grow to its length again, since the buffer stays.
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
