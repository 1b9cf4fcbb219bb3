//! The golden frames on a live veth. A passed frame leaves both programs bit for bit as
//! it came. An answered frame comes back as the engine's reply, byte for byte. Each packet
//! is counted once, as an answer or as a pass with its reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use headless_agent::maps::RecordSink as _;
use headless_agent::maps::memory::MemorySink;
use headless_ebpf::respond::Verdict;
use headless_tests::golden::{self, Case};
use headless_tests::host::{Hook, Host};
use headless_tests::kernel::{FRAME_MIN, Kernel};
use headless_tests::node::{Node, Pod};
use headless_tests::tap::{Tap, Way};
use headless_tests::twin::counters;
use headless_tests::{hex, maps};

headless_tests::for_each_hook! { golden_frames_are_answered_or_pass_unchanged }

/// A bridge with two ports. The programs are on the first port. The bridge floods frames
/// for unknown addresses to the second port, so passed frames appear there.
struct Bridge {
    node: Node,
    /// The pod at the first port, which sends the frames.
    pod: Pod,
    /// The pod at the second port; dropping it would remove the port.
    _other: Pod,
    /// Tap of the sending pod.
    asking: Tap,
    /// Tap of the other pod.
    behind: Tap,
}

impl Bridge {
    fn new() -> Self {
        let node = Node::new();
        let (pod, other) = (node.pod("veth-client", 10), node.pod("veth-other", 11));
        node.ip("link add br0 type bridge");
        node.ip("link set br0 up mtu 9000");
        // With br_netfilter loaded, iptables would check the IP packets on the bridge and
        // drop the malformed ones.
        node.run(|| {
            for family in ["iptables", "ip6tables"] {
                let switch = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
                if Path::new(&switch).exists() {
                    fs::write(switch, "0")?;
                }
            }
            Ok(())
        })
        .unwrap();
        for end in [&pod, &other] {
            end.set_mtu(&node, 9000);
            // The programs would count the packets of IPv6 neighbour discovery.
            let silence = || Ok(fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?);
            end.within(silence).unwrap();
            node.ip(&format!("link set {} master br0", end.host_end));
        }
        Self {
            asking: Tap::of_pod(&pod),
            behind: Tap::of_pod(&other),
            node,
            pod,
            _other: other,
        }
    }
}

/// Verdicts on a frame, of each program that sees it.
fn expected(case: &Case, hook: &str) -> Vec<(Hook, Verdict)> {
    let hooks = if hook == "xdp" { &[Hook::Xdp][..] } else { &[] };
    let mut run = Vec::new();
    for hook in hooks.iter().copied().chain([Hook::Tc(case.mtu)]) {
        let verdict = case.expected(hook);
        run.push((hook, verdict));
        if matches!(verdict, Verdict::Answer(..)) {
            break;
        }
    }
    run
}

/// Whether the engine makes this reply for some start of the RRset or of the SRV targets.
fn makes(maps: &MemorySink, case: &Case, hook: Hook, reply: &[u8]) -> bool {
    let host = Host {
        now_ns: 1,
        ..Host::new(maps)
    };
    host.every_start(case.addresses_max())
        .any(|host| host.respond_in(hook, &case.input()).1 == reply)
}

fn golden_frames_are_answered_or_pass_unchanged(hook: &str) {
    let bridge = Bridge::new();
    let mut kernel = Kernel::load();
    let host_end = &bridge.pod.host_end;
    kernel.attach(&bridge.node, host_end, hook == "xdp");
    let (mut passed, mut answered) = (0, 0);
    for case in golden::cases() {
        let frame = case.input();
        // The kernel moves a VLAN tag out of the frame before tc and a tap see it, so
        // `live_edges` tests tagged frames instead.
        let is_tagged = matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        if frame.len() < FRAME_MIN || is_tagged {
            continue;
        }
        let name = case.name();
        maps::clear(&mut kernel.maps);
        kernel.maps.put_config(&case.config()).unwrap();
        case.fill(&mut kernel.maps);
        kernel.put_interface(&bridge.node, host_end, case.mtu);
        let run = expected(&case, hook);
        let before = kernel.counters();
        bridge.asking.send(&frame);
        let (hook, verdict) = *run.last().unwrap();
        if matches!(verdict, Verdict::Answer(..)) {
            answered += 1;
            let reply = bridge.asking.wait(Way::In);
            let as_engine = makes(&case.memory(), &case, hook, &reply);
            assert!(as_engine, "{name} by {hook:?}:\n{}", hex::annotate(&reply));
        } else {
            passed += 1;
            bridge.behind.wait_for(&frame);
        }
        let moved = kernel.moved_since(&before);
        assert_eq!(moved, counters(&run), "counters moved by {name}: {run:?}");
    }
    assert!(passed > 100 && answered > 100, "{passed}, {answered}");
    assert_eq!(bridge.asking.gone(Way::In), Vec::<Vec<u8>>::new());
}
