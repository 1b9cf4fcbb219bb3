//! Packets as pods send them, at the edges of what there can be: on a live veth,
//! behind each program, over both IP versions, with the checksum made by the pod or
//! left to its device. Every reply is captured at the pod's end and is, byte for
//! byte, the engine's on the host.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use headless_ebpf::abi::{AnswerKind, Counter, Outcome, PassReason, Path};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Envelope, EnvelopeV6, Opt, Query, qtype};
use headless_tests::node::Client;
use headless_tests::tap::Way;
use headless_tests::twin::{SERVERS, Twin, headers_len};

headless_tests::for_each_hook! {
    every_kind_of_answer
    every_length_of_a_message
    names_as_long_as_they_get
    letters_in_any_case
    edns
    replies_up_to_the_mtu
    padded_frames
    queries_joined_by_the_sender
    queries_joined_by_the_node
    joined_queries_taken_apart_by_the_pod
    queries_in_fragments
    queries_with_a_tag
}

const ZONE: &str = "svc.cluster.local";

const DATA: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Data);
const TRUNCATED: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Truncated);
const NXDOMAIN: Verdict = Verdict::Answer(AnswerKind::A, Outcome::NxDomain);

/// Over both IP versions, with and without offload.
fn everywhere(twin: &mut Twin, mut ask: impl FnMut(&Twin, IpAddr)) {
    for offload in [true, false] {
        twin.offload_checksums(offload);
        for server in SERVERS {
            ask(twin, server);
        }
    }
}

/// Asks everywhere; each query has this verdict.
fn all(twin: &mut Twin, rows: &[(Query, Verdict)]) {
    everywhere(twin, |twin, server| {
        let client = twin.pod.client_of(server);
        for (query, verdict) in rows {
            let found = twin.ask(&client, server, query);
            assert_eq!(found, *verdict, "{query:?} to {server}");
        }
    });
}

fn query(name: &str) -> Query {
    Query::new(&format!("{name}.{ZONE}"), qtype::A)
}

/// Labels of one byte, as many as there are.
fn ones(labels: usize) -> String {
    vec!["a"; labels].join(".")
}

fn every_kind_of_answer(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    twin.add("dual.default", 1, 1);
    twin.add("v6.default", 0, 7);
    twin.add("many.default", 60, 20);
    let of = |name: &str, qtype| Query {
        qtype,
        ..query(name)
    };
    let aaaa = |outcome| Verdict::Answer(AnswerKind::Aaaa, outcome);
    let other = |outcome| Verdict::Answer(AnswerKind::Other, outcome);
    let rows = [
        (query("web.default"), DATA),
        (query("web.default").edns(1232), DATA),
        (query("dual.default"), DATA),
        (of("dual.default", qtype::AAAA), aaaa(Outcome::Data)),
        (of("v6.default", qtype::AAAA), aaaa(Outcome::Data)),
        (of("web.default", qtype::AAAA), aaaa(Outcome::NoData)),
        (of("web.default", qtype::TXT), other(Outcome::NoData)),
        (query("many.default"), TRUNCATED),
        (query("many.default").edns(1232), DATA),
        (of("many.default", qtype::AAAA), aaaa(Outcome::Truncated)),
        (query("nope.default"), NXDOMAIN),
        (query("nope.default").edns(4096), NXDOMAIN),
        (Query::new("cluster.local", 6), other(Outcome::Data)),
        (
            Query::new("dns-version.cluster.local", qtype::TXT),
            other(Outcome::Data),
        ),
        (
            Query::new("www.example.com", qtype::A),
            Verdict::Pass(PassReason::OutsideZone),
        ),
    ];
    all(&mut twin, &rows);
}

/// Even and odd, and every remainder of the words that are copied and summed; what
/// grows most and what grows least.
fn every_length_of_a_message(hook: &str) {
    let mut twin = Twin::new(hook);
    let mut rows = Vec::new();
    for len in 1..=63 {
        let label = "s".repeat(len);
        let name = format!("{label}.default");
        twin.add(&name, 1 + len as u32 % 24, 1);
        rows.push((query(&name), DATA));
        let aaaa = Query {
            qtype: qtype::AAAA,
            ..query(&name)
        };
        rows.push((aaaa, Verdict::Answer(AnswerKind::Aaaa, Outcome::Data)));
        // As much as a client without EDNS takes: what has to grow most.
        let many = format!("{}.d", "m".repeat(len));
        twin.add(&many, 60, 0);
        rows.push((query(&many), TRUNCATED));
        let missing = query(&format!("{}.default", "x".repeat(len)));
        rows.push((missing.clone(), NXDOMAIN));
        rows.push((missing.edns(512), NXDOMAIN));
    }
    all(&mut twin, &rows);
}

fn names_as_long_as_they_get(hook: &str) {
    let mut twin = Twin::new(hook);
    let sixty_three = |letter: &str| letter.repeat(63);
    let endpoint = ["e", "s", "n"].map(sixty_three).join(".");
    twin.add(&endpoint, 6, 1);
    let mut rows = vec![
        (query(&endpoint), DATA),
        (query(&endpoint).edns(512), DATA),
        (query(&["e", "s", "m"].map(sixty_three).join(".")), NXDOMAIN),
    ];
    // `svc.cluster.local` has 19 bytes with the root: 118 labels of one byte make 255.
    for labels in (1..=118).rev() {
        rows.push((query(&ones(labels)), NXDOMAIN));
    }
    let longest = query(&ones(118));
    assert_eq!(longest.name.len(), 255);
    rows.push((longest.edns(4096), NXDOMAIN));
    // One more is no name, neither are 128 labels.
    let name = Verdict::Pass(PassReason::Name);
    rows.push((query(&ones(119)), name));
    let outside = Query::new(&ones(127), qtype::A);
    assert_eq!(outside.name.len(), 255);
    rows.push((outside, Verdict::Pass(PassReason::OutsideZone)));
    rows.push((Query::new(&ones(128), qtype::A), name));
    all(&mut twin, &rows);
}

/// As clients choose them at random (0x20): the reply's question is the query's, its
/// records point to it.
fn letters_in_any_case(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web-0.nginx.default", 2, 0);
    let name = format!("web-0.nginx.default.{ZONE}");
    let mut random = fastrand::Rng::with_seed(20);
    let mixed = |name: &str, random: &mut fastrand::Rng| -> String {
        let change = |letter: char| {
            if random.bool() {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        };
        name.chars().map(change).collect()
    };
    let mut rows = Vec::new();
    for _ in 0..20 {
        let found = Query::new(&mixed(&name, &mut random), qtype::A);
        let missing = Query::new(&mixed(&format!("x.{ZONE}"), &mut random), qtype::A);
        rows.extend([(found, DATA), (missing, NXDOMAIN)]);
    }
    all(&mut twin, &rows);
}

fn edns(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    twin.add("many.default", 60, 0);
    let with = |name: &str, opt: Opt| Query {
        opt: Some(opt),
        ..query(name)
    };
    let mut rows = Vec::new();
    for size in [0, 100, 511, 512, 513, 1000, 1232, 4096, 65535] {
        rows.push((query("web.default").edns(size), DATA));
        let fits = size >= 60 * 16 + 100;
        rows.push((
            query("many.default").edns(size),
            if fits { DATA } else { TRUNCATED },
        ));
    }
    for flags in [0x8000, 0x4000, 0x80ff] {
        let opt = Opt {
            flags,
            ..Opt::size(1232)
        };
        rows.push((with("web.default", opt), DATA));
    }
    all(&mut twin, &rows);
    // Whoever answers these: as the engine says.
    let option = |code: u16, data: &[u8]| {
        let len = u16::try_from(data.len()).unwrap();
        [&code.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
    };
    let options = [
        option(3, &[]),
        option(8, &[0, 1, 24, 0, 10, 244, 0]),
        option(10, &[7; 8]),
        option(12, &[0; 64]),
        option(12, &[0; 700]),
        option(65001, &[1]),
        [option(3, &[]), option(10, &[7; 8])].concat(),
    ];
    everywhere(&mut twin, |twin, server| {
        let client = twin.pod.client_of(server);
        for options in &options {
            let opt = Opt {
                options: options.clone(),
                ..Opt::size(1232)
            };
            let verdict = twin.ask(&client, server, &with("web.default", opt));
            assert_ne!(verdict, Verdict::Lost);
        }
    });
}

/// The most that the veth has room for, and one address more.
fn replies_up_to_the_mtu(hook: &str) {
    let mut twin = Twin::new(hook);
    // What an MTU leaves to the message, over IPv4 and IPv6, at most 4096 bytes.
    let rooms = [(1500, [1472, 1452]), (9000, [4096, 4096])];
    let asked = |name: &str| query(name).edns(65_535);
    let fitting = |room: usize| {
        let fixed = asked("n000.default").message().len();
        u32::try_from((room - fixed) / 16).unwrap()
    };
    let counts = rooms.map(|(_, rooms)| rooms.map(fitting));
    for most in counts.as_flattened() {
        for count in [*most, *most + 1] {
            if !twin.holds(&format!("n{count:03}.default")) {
                twin.add(&format!("n{count:03}.default"), count, 0);
            }
        }
    }
    for ((mtu, _), counts) in rooms.iter().zip(counts) {
        twin.set_mtu(*mtu);
        for offload in [true, false] {
            twin.offload_checksums(offload);
            for (server, most) in SERVERS.into_iter().zip(counts) {
                let client = twin.pod.client_of(server);
                let ask = |count: u32| {
                    let query = asked(&format!("n{count:03}.default"));
                    twin.ask(&client, server, &query)
                };
                assert_eq!(ask(most), DATA, "MTU {mtu}, {server}");
                let larger = Verdict::Pass(PassReason::TooLarge);
                assert_eq!(ask(most + 1), larger, "MTU {mtu}, {server}");
            }
        }
    }
}

/// What is behind the packet is no part of it, however long it is.
fn padded_frames(hook: &str) {
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

/// Messages of one length that can be told apart.
fn numbered() -> Vec<Vec<u8>> {
    let numbered = |id| Query {
        id,
        ..query("web.default")
    };
    (1..=3).map(|id| numbered(id).message()).collect()
}

/// Several queries in one buffer are nobody's but userspace's: they pass as they are,
/// are taken apart behind the programs, and each is answered.
fn check_joined(twin: &Twin, server: IpAddr, client: &Client, queries: &[Vec<u8>]) {
    let joined = twin.behind_xdp.wait(Way::In);
    let message = &joined[headers_len(&joined)..];
    assert_eq!(message, queries.concat(), "joined and untouched");
    for query in queries {
        assert_eq!(twin.cluster_dns(server).answer(), *query);
    }
    for query in queries {
        let mut reply = query.clone();
        reply[2] |= 0x80;
        assert_eq!(client.receive(), Some(reply));
    }
}

/// What counts packets of several queries.
fn joined_counters(hook: &str) -> Vec<(Counter, u64)> {
    let tc = Counter::pass(Path::Tc, PassReason::Length);
    let xdp = Counter::pass(Path::Xdp, PassReason::Trailing);
    if hook == "tc" {
        vec![(tc, 1)]
    } else {
        vec![(xdp, 1), (tc, 1)]
    }
}

/// Whether veths carry several datagrams in one buffer: those of 5.10 do not, and the
/// sender's kernel takes them apart.
fn carries_joined(twin: &Twin) -> bool {
    let carries = twin.pod.offload("tx-udp-segmentation", true);
    if !carries {
        eprintln!("left out: this kernel's veths carry datagrams one by one");
    }
    carries
}

fn queries_joined_by_the_sender(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    if !carries_joined(&twin) {
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

/// A query that is cut into datagrams is none: tc can tell. (XDP sees the buffer alone
/// and answers it, a reply that the pod's kernel takes apart and drops.)
#[test]
fn a_query_in_pieces_is_none() {
    let mut twin = Twin::new("tc");
    twin.add("web.default", 3, 0);
    if !carries_joined(&twin) {
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

/// The pod's device sends them one by one, and the node's joins them again (GRO),
/// unless there is a generic XDP program (`netif_elide_gro` in
/// include/linux/netdevice.h).
fn queries_joined_by_the_node(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    let (pod, host_end) = (&twin.pod, &twin.pod.host_end);
    assert!(pod.offload("tx-udp-segmentation", false));
    // Veths do so without native XDP from kernel 5.13 on (commit `d3256efd8e8b`).
    let joins = twin.node.offload(host_end, "gro", true)
        && twin.node.offload(host_end, "rx-udp-gro-forwarding", true);
    if !joins {
        eprintln!("left out: this kernel's veths join no datagrams");
        return;
    }
    let queries = numbered();
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        if hook == "xdp" {
            check_apart(&twin, &client);
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

fn joined_queries_taken_apart_by_the_pod(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    assert!(twin.pod.offload("tx-udp-segmentation", false));
    for server in SERVERS {
        check_apart(&twin, &twin.pod.client_of(server));
    }
}

/// Hands queries to the kernel at once, which come to the node one by one: each is
/// answered.
fn check_apart(twin: &Twin, client: &Client) {
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

/// A query larger than the MTU: every fragment passes, and userspace gets the whole.
fn queries_in_fragments(hook: &str) {
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
        // Besides there may be the pod's multicast listener reports.
        let [xdp, tc] = [0, 1].map(|i| passed(Path::ALL[i]) - before[i]);
        assert!(
            tc >= 3 && (hook == "tc" || xdp >= 3),
            "{xdp} by XDP, {tc} by tc"
        );
    });
}

/// XDP reads over the tag of a VLAN and sends it back. Before tc the kernel takes it
/// off and keeps it beside the packet: either way the reply is of that VLAN, too.
fn queries_with_a_tag(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    // Nobody completes a checksum of what is sent as it stands.
    twin.offload_checksums(false);
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        client.send(&query("web.default"));
        let sent = twin.tap.wait(Way::Out);
        assert!(client.receive().is_some());
        twin.tap.gone(Way::In);
        // VLAN 0 is none (IEEE 802.1Q): the pod's socket gets the reply. Of VLAN 5 the
        // pod has no interface.
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
