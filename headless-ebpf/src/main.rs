//! The two BPF programs: `headless_xdp` and `headless_tc`. Each runs the library's engine on
//! the packets that arrive at one interface, counts the verdict, and returns an action to the
//! kernel. All decisions are in the library.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(
    not(target_arch = "bpf"),
    allow(missing_docs, reason = "nothing to document")
)]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::xdp_action,
        macros::{classifier, xdp},
        programs::{TcContext, XdpContext},
    };
    use aya_log_ebpf::debug;
    use headless_ebpf::{
        abi::{self, Path},
        respond::{Verdict, respond_coded},
    };

    use crate::kernel::{Maps, PerCpu, SkbPacket, XdpPacket, count};

    /// The version of the map layouts in this object. The agent's loader compares it with its
    /// own.
    #[unsafe(no_mangle)]
    static LAYOUT: u64 = abi::LAYOUT;

    /// Answers the DNS queries of the pod behind this interface. Replies of up to 512 bytes.
    #[xdp]
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "the macro's signature")]
    fn headless_xdp(ctx: XdpContext) -> u32 {
        let memory = PerCpu::new();
        let code = respond_coded(&mut XdpPacket::new(&ctx), &Maps, || memory.claim());
        memory.release();
        if let Some(counter) = code.counter(Path::Xdp) {
            count(counter);
        }
        if crate::kernel::logging() {
            match code.verdict() {
                Verdict::Answer(kind, outcome) => {
                    debug!(&ctx, "answered {} {}", kind.label(), outcome.label());
                }
                Verdict::Pass(reason) => debug!(&ctx, "passed: {}", reason.label()),
                Verdict::Lost => {}
            }
        }
        if code.is_answer() {
            xdp_action::XDP_TX
        } else if code.is_lost() {
            xdp_action::XDP_ABORTED
        } else {
            xdp_action::XDP_PASS
        }
    }

    /// Answers the DNS queries that the XDP program left, since their replies are too large for
    /// XDP, or all queries where XDP is not attached. Replies of up to 4096 bytes.
    #[classifier]
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "the macro's signature")]
    fn headless_tc(ctx: TcContext) -> i32 {
        let mut packet = SkbPacket::new(&ctx);
        let memory = PerCpu::new();
        let code = respond_coded(&mut packet, &Maps, || memory.claim());
        memory.release();
        if let Some(counter) = code.counter(Path::Tc) {
            count(counter);
            if code.is_connection() {
                packet.count_connection();
            }
        }
        if crate::kernel::logging() {
            match code.verdict() {
                Verdict::Answer(kind, outcome) => {
                    debug!(&ctx, "answered {} {} in tc", kind.label(), outcome.label());
                }
                Verdict::Pass(reason) => debug!(&ctx, "passed in tc: {}", reason.label()),
                Verdict::Lost => {}
            }
        }
        packet.action(code)
    }

    /// The licence that the kernel requires of programs that call GPL-only helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
