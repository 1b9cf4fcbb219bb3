//! Several queries in one buffer (`UDP_SEGMENT`, GRO), and one query cut into several
//! datagrams.

use std::net::IpAddr;

use headless_ebpf::abi::{Counter, PassReason, Path};
use headless_tests::frame::Query;
use headless_tests::node::Client;
use headless_tests::tap::Way;
use headless_tests::twin::{SERVERS, Twin, headers_len};

use super::{DATA, query};

headless_tests::for_each_hook! {
    queries_joined_by_the_sender
    queries_joined_by_the_node
    queries_split_by_the_pod_are_answered
}

/// Three queries of one length with different ids.
fn numbered() -> Vec<Vec<u8>> {
    let numbered = |id| Query {
        id,
        ..query("web.default")
    };
    (1..=3).map(|id| numbered(id).message()).collect()
}

/// Checks that the programs pass a buffer of several queries unchanged. The kernel splits
/// the buffer behind the programs, and the cluster's DNS answers each query.
fn check_joined(twin: &Twin, server: IpAddr, client: &Client, queries: &[Vec<u8>]) {
    let joined = twin.behind_xdp.wait(Way::In);
    let message = &joined[headers_len(&joined)..];
    assert_eq!(message, queries.concat(), "one buffer, unchanged");
    for query in queries {
        assert_eq!(twin.cluster_dns(server).answer(), *query);
    }
    for query in queries {
        let mut reply = query.clone();
        reply[2] |= 0x80;
        assert_eq!(client.receive(), Some(reply));
    }
}

/// Counters that move for one buffer of several queries. XDP cannot tell such a buffer
/// from one datagram, and sees the other queries as bytes after the question.
fn joined_counters(hook: &str) -> Vec<(Counter, u64)> {
    let tc = Counter::pass(Path::Tc, PassReason::Length);
    let xdp = Counter::pass(Path::Xdp, PassReason::Trailing);
    if hook == "tc" {
        vec![(tc, 1)]
    } else {
        vec![(xdp, 1), (tc, 1)]
    }
}

/// Whether the veths of this kernel carry several datagrams in one buffer. Kernel 5.10
/// splits the buffer before the veth.
fn veth_carries_joined(twin: &Twin) -> bool {
    let carries = twin.pod.offload("tx-udp-segmentation", true);
    if !carries {
        eprintln!("left out: this kernel splits joined datagrams before a veth");
    }
    carries
}

fn queries_joined_by_the_sender(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    if !veth_carries_joined(&twin) {
        return;
    }
    let queries = numbered();
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        let ((), moved) = twin.counting(|| {
            client.send_segmented(&queries.concat(), queries[0].len());
            let sent = twin.tap.wait(Way::Out);
            assert_eq!(sent[headers_len(&sent)..], queries.concat());
            check_joined(&twin, server, &client, &queries);
        });
        assert_eq!(moved, joined_counters(hook), "{server}");
    }
}

/// A sender can cut one query into several datagrams (`UDP_SEGMENT` below its length).
/// None of them is a query, so tc passes the buffer. XDP cannot see the segment size: it
/// answers, and the pod's kernel drops the reply (a known gap, see ARCHITECTURE.md).
#[test]
fn tc_passes_a_query_cut_into_datagrams() {
    let mut twin = Twin::new("tc");
    twin.add("web.default", 3, 0);
    if !veth_carries_joined(&twin) {
        return;
    }
    let message = query("web.default").message();
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        let ((), moved) = twin.counting(|| {
            client.send_segmented(&message, 20);
            for piece in message.chunks(20) {
                assert_eq!(twin.cluster_dns(server).receive(), piece);
            }
        });
        assert_eq!(moved, joined_counters("tc"), "{server}");
        assert!(client.is_silent(), "{server}");
    }
}

/// The pod's device sends the queries one by one, and the node's device joins them again
/// (GRO). A generic XDP program turns GRO off (`netif_elide_gro` in
/// include/linux/netdevice.h), so XDP gets them one by one.
fn queries_joined_by_the_node(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    let (pod, host_end) = (&twin.pod, &twin.pod.host_end);
    assert!(pod.offload("tx-udp-segmentation", false));
    // Veths without native XDP support GRO from kernel 5.13 on (commit `d3256efd8e8b`).
    let joins = twin.node.offload(host_end, "gro", true)
        && twin.node.offload(host_end, "rx-udp-gro-forwarding", true);
    if !joins {
        eprintln!("left out: this kernel's veths have no GRO");
        return;
    }
    let queries = numbered();
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        if hook == "xdp" {
            check_split(&twin, &client);
            continue;
        }
        let ((), moved) = twin.counting(|| {
            client.send_segmented(&queries.concat(), queries[0].len());
            check_joined(&twin, server, &client, &queries);
        });
        let (sent, _) = twin.tap.all(Way::Out);
        let sent: Vec<_> = sent.iter().map(|it| &it[headers_len(it)..]).collect();
        assert_eq!(sent, queries, "one by one");
        assert_eq!(moved, joined_counters(hook), "{server}");
    }
}

fn queries_split_by_the_pod_are_answered(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    assert!(twin.pod.offload("tx-udp-segmentation", false));
    for server in SERVERS {
        check_split(&twin, &twin.pod.client_of(server));
    }
}

/// Sends three queries by one call, which reach the node one by one. Checks that the
/// programs answer each.
fn check_split(twin: &Twin, client: &Client) {
    let queries = numbered();
    client.send_segmented(&queries.concat(), queries[0].len());
    let replies: Vec<_> = queries.iter().map(|_| client.receive().unwrap()).collect();
    let (sent, received) = twin.tap.all(Way::Out);
    assert_eq!((sent.len(), received.len()), (3, 3));
    let frames = sent.into_iter().zip(received);
    for ((query, reply), (sent, received)) in queries.iter().zip(replies).zip(frames) {
        assert_eq!(sent[headers_len(&sent)..], *query);
        assert_eq!(received[headers_len(&received)..], reply);
        assert_eq!(twin.compare_reply(&sent, &received), DATA);
    }
}
