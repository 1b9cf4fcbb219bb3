//! The floor of every measurement: an XDP program that sends each UDP packet to port 53 back
//! with source and destination swapped. It parses no message, reads no map, and does not
//! resize the packet, so that the difference to `headless_xdp` is the cost of answering.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    not(target_arch = "bpf"),
    allow(missing_docs, reason = "nothing to document")
)]

#[cfg(target_arch = "bpf")]
#[path = "kernel/panic.rs"]
mod panic;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

    /// Bytes of the Ethernet, IPv4 and UDP headers.
    const HEADERS_LEN: usize = 42;

    /// Sends each DNS query over IPv4 back to its sender.
    #[xdp]
    #[expect(clippy::needless_pass_by_value, reason = "the macro's signature")]
    fn reflect(ctx: XdpContext) -> u32 {
        let data = ctx.data();
        if data + HEADERS_LEN > ctx.data_end() {
            return xdp_action::XDP_PASS;
        }
        // SAFETY: the comparison above says that the packet has these bytes.
        let head = unsafe { &mut *(data as *mut [u8; HEADERS_LEN]) };
        let is_query = head[12] == 0x08
            && head[13] == 0
            && head[14] == 0x45
            && head[23] == 17
            && head[36] == 0
            && head[37] == 53;
        if !is_query {
            return xdp_action::XDP_PASS;
        }
        // Byte by byte: the compiler turns a copy of six bytes into a call of `memmove`, which
        // the BPF back end refuses.
        let mut i = 0;
        while i < 6 {
            head.swap(i, i + 6);
            i += 1;
        }
        let mut i = 26;
        while i < 30 {
            head.swap(i, i + 4);
            i += 1;
        }
        head.swap(34, 36);
        head.swap(35, 37);
        head[40] = 0;
        head[41] = 0;
        xdp_action::XDP_TX
    }

    /// The licence that the kernel requires.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
