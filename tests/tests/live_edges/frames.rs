//! Frames that are not just one packet: padding, fragments, VLAN tags.

use headless_ebpf::abi::{AnswerKind, Counter, Outcome, PassReason, Path};
use headless_tests::frame::{Envelope, EnvelopeV6, Opt, Query};
use headless_tests::tap::Way;
use headless_tests::twin::{SERVERS, Twin};

use super::{DATA, NXDOMAIN, everywhere, query};

headless_tests::for_each_hook! {
    bytes_after_the_packet_are_ignored
    fragments_of_a_query_pass
    replies_keep_the_vlan_tag_of_the_query
}

/// A frame may be longer than its IP packet: Ethernet pads frames to 60 bytes.
fn bytes_after_the_packet_are_ignored(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("w.d", 1, 0);
    twin.add("web.default", 3, 0);
    for name in ["w.d", "web.default", "x.y", "missing.default"] {
        let message = query(name).message();
        let paddings = (0..=18).chain([46, 64, 191, 192, 193, 500, 1200]);
        for padding in paddings {
            let ipv4 = Envelope {
                padding,
                ..Envelope::default()
            };
            let ipv6 = EnvelopeV6 {
                padding,
                ..EnvelopeV6::default()
            };
            for frame in [ipv4.wrap(&message), ipv6.wrap(&message)] {
                let verdict = twin.send(&frame);
                let expected = if name.starts_with('w') {
                    DATA
                } else {
                    NXDOMAIN
                };
                assert_eq!(verdict, expected, "{name}, {padding} bytes");
            }
        }
    }
}

/// A query larger than the MTU leaves the pod in three fragments. All of them pass, so
/// that the cluster's DNS gets the whole query.
fn fragments_of_a_query_pass(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    let mut options = vec![0, 12];
    options.extend(3000_u16.to_be_bytes());
    options.extend([0; 3000]);
    let opt = Some(Opt {
        options,
        ..Opt::size(1232)
    });
    let query = Query {
        opt,
        ..query("web.default")
    };
    everywhere(&mut twin, |twin, server| {
        let passed = |path| twin.kernel.passed(path, PassReason::IpHeader);
        let before = Path::ALL.map(passed);
        let client = twin.pod.client_of(server);
        client.send(&query);
        assert_eq!(twin.cluster_dns(server).answer(), query.message());
        assert!(client.receive().is_some());
        let counted = [0, 1].map(|i| passed(Path::ALL[i]) - before[i]);
        assert_eq!(counted, [if hook == "tc" { 0 } else { 3 }, 3]);
    });
}

/// XDP finds the VLAN tag in the frame, skips it and sends it back. tc does not see the
/// tag: the kernel has moved it into the packet's metadata, from where it returns to the
/// reply.
fn replies_keep_the_vlan_tag_of_the_query(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    // A tap sends frames unchanged, so nothing would complete a partial checksum.
    twin.offload_checksums(false);
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        client.send(&query("web.default"));
        let sent = twin.tap.wait(Way::Out);
        assert!(client.receive().is_some());
        twin.tap.gone(Way::In);
        // VLAN 0 means no VLAN (IEEE 802.1Q), so the pod's socket gets the reply. The pod
        // has no interface for VLAN 5, so only the tap sees that reply.
        for (vlan, is_received) in [(0, true), (5, false)] {
            let tag = [0x81, 0x00, 0x00, vlan];
            let tagged = [&sent[..12], &tag, &sent[12..]].concat();
            let (received, moved) = twin.counting(|| {
                twin.tap.send(&tagged);
                twin.tap.wait(Way::In)
            });
            assert_eq!(twin.compare_reply(&sent, &received), DATA);
            let path = if hook == "xdp" { Path::Xdp } else { Path::Tc };
            let answer = Counter::answer(path, AnswerKind::A, Outcome::Data);
            assert_eq!(moved, [(answer, 1)], "VLAN {vlan}, {server}");
            assert_eq!(client.is_silent(), !is_received, "VLAN {vlan}, {server}");
        }
    }
}
