//! A pod that routes to a pod inside it, as a pod with containers does.
//!
//! A reply that the outer pod forwards needs a valid UDP checksum, or a partial one that a
//! device completes. The last device has no checksum offload here, so the kernel completes
//! the checksum.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Pod, wait_for};
use headless_tests::tap::{Tap, Way};
use headless_tests::twin::{Checksum, SERVERS, Twin, has_checksum};

headless_tests::for_each_hook! { forwarded_replies_have_valid_checksums }

fn ip(pod: &Pod, arguments: &str) {
    let output = pod.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Makes a pod inside the twin's pod, with addresses of both families.
fn nested(twin: &Twin) -> Pod {
    let router = &twin.pod;
    let inner = router.nested("veth-inner", 20);
    router
        .within(|| Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?))
        .unwrap();
    ip(router, "-6 addr add fd00:10:245::1/64 dev veth-inner nodad");
    ip(&inner, "-6 addr add fd00:10:245::14/64 dev eth0 nodad");
    ip(&inner, "-6 route add default via fd00:10:245::1");
    let output = router.run("ethtool", &["-K", "veth-inner", "tx", "off"]);
    assert!(output.status.success(), "ethtool: {output:?}");
    inner
}

fn forwarded_replies_have_valid_checksums(hook: &str) {
    let mut twin = Twin::new(hook);
    for len in 1..=20 {
        twin.add(&format!("{}.default", "s".repeat(len)), len as u32, 1);
    }
    let inner = nested(&twin);
    let tap = Tap::of_pod(&inner);
    // XDP cannot complete a partial checksum (a known gap, see ARCHITECTURE.md).
    let offloads = if hook == "tc" {
        &[true, false][..]
    } else {
        &[false]
    };
    for offload in offloads {
        inner.offload_checksums(*offload);
        for server in SERVERS {
            let client = inner.client_of(server);
            // The first reply may be late: the router must find its neighbour's Ethernet
            // address, which over IPv6 can take as long as a client waits.
            wait_for(|| {
                let query = Query::new("s.default.svc.cluster.local", qtype::A);
                let reply = inner.client_of(server).ask(&query);
                reply
                    .map(drop)
                    .ok_or_else(|| format!("no reply from {server}"))
            });
            tap.all(Way::In);
            for len in 1..=20 {
                let name = format!("{}.default.svc.cluster.local", "s".repeat(len));
                let query = Query::new(&name, qtype::A);
                let (reply, moved) = twin.counting(|| client.ask(&query));
                let about = format!("{name} at {server}, offload {offload}");
                let reply = reply.unwrap_or_else(|| panic!("no reply: {about}"));
                assert_eq!(decode::addresses(&reply.answers).len(), len, "{about}");
                assert_eq!(moved.len(), 1, "exactly one program answers: {about}");
                let received = tap.wait(Way::In);
                // Over IPv4, a reply may have no checksum (see `Twin`). Otherwise it must
                // be complete here. The pod's kernel drops replies with a wrong one.
                let is_whole = has_checksum(&received, Checksum::Whole);
                let is_none = server.is_ipv4() && has_checksum(&received, Checksum::None);
                assert!(is_whole || is_none, "wrong checksum: {about}");
            }
        }
    }
}
