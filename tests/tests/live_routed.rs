//! A pod that is a router itself, as one with containers in it is: what it routes on
//! needs a checksum that holds, or that a device can complete. The last device makes
//! none, so the kernel does it in its place.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Pod, wait_for};
use headless_tests::tap::{Tap, Way};
use headless_tests::twin::{Checksum, SERVERS, Twin, checksum_of};

headless_tests::for_each_hook! { replies_are_whole_behind_a_router }

fn ip(pod: &Pod, arguments: &str) {
    let output = pod.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// A pod behind the pod, with addresses of both families.
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

fn replies_are_whole_behind_a_router(hook: &str) {
    let mut twin = Twin::new(hook);
    for len in 1..=20 {
        twin.add(&format!("{}.default", "s".repeat(len)), len as u32, 1);
    }
    let inner = nested(&twin);
    let tap = Tap::of_pod(&inner);
    // XDP cannot finish a checksum that was left to a device: the known gap.
    let offloads = if hook == "tc" {
        &[true, false][..]
    } else {
        &[false]
    };
    for offload in offloads {
        inner.offload_checksums(*offload);
        for server in SERVERS {
            let client = inner.client_of(server);
            // The router may have to find its neighbour first, which over IPv6 takes as
            // long as a client waits.
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
                assert_eq!(moved.len(), 1, "one program answers: {about}");
                let received = tap.wait(Way::In);
                // Made here, unless there was none to be made: see `Twin`. A wrong one
                // the pod's kernel would not have taken.
                let found = checksum_of(&received);
                let is_none = server.is_ipv4() && found == Checksum::None;
                assert!(found == Checksum::Whole || is_none, "{found:?}: {about}");
            }
        }
    }
}
