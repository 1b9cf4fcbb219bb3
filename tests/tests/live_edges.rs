//! Packets as pods send them, at the edges of what there can be: on a live veth,
//! behind each program, over both IP versions, with the checksum made by the pod or
//! left to its device. Every reply is captured at the pod's end and is, byte for
//! byte, the engine's on the host.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use headless_ebpf::abi::{AnswerKind, Outcome, PassReason};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Opt, Query, qtype};
use headless_tests::twin::{SERVERS, Twin};

headless_tests::for_each_hook! {
    every_kind_of_answer
    every_length_of_a_message
    names_as_long_as_they_get
    letters_in_any_case
    edns
    replies_up_to_the_mtu
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
