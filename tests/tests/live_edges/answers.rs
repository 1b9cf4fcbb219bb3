//! Answers of every kind and of every size.

use headless_ebpf::abi::{AnswerKind, Outcome, PassReason};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Opt, Query, qtype};
use headless_tests::twin::{SERVERS, Twin};

use super::{DATA, NXDOMAIN, TRUNCATED, ask_all, everywhere, query};

headless_tests::for_each_hook! {
    the_pod_gets_every_kind_of_answer
    every_message_length_is_answered
    every_edns_size_and_flag_is_answered
    edns_options_are_handled_as_the_engine_does
    replies_up_to_the_mtu_are_sent_and_larger_ones_pass
}

fn the_pod_gets_every_kind_of_answer(hook: &str) {
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
    ask_all(&mut twin, &rows);
}

/// Messages of every length from a label of 1 byte to one of 63: the checksum has an odd
/// last byte or none, and the copy loops end at every remainder of their word size.
fn every_message_length_is_answered(hook: &str) {
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
        // A truncated reply fills all 512 bytes that a client without EDNS accepts, so
        // its packet grows most.
        let many = format!("{}.d", "m".repeat(len));
        twin.add(&many, 60, 0);
        rows.push((query(&many), TRUNCATED));
        let missing = query(&format!("{}.default", "x".repeat(len)));
        rows.push((missing.clone(), NXDOMAIN));
        rows.push((missing.edns(512), NXDOMAIN));
    }
    ask_all(&mut twin, &rows);
}

fn every_edns_size_and_flag_is_answered(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    twin.add("many.default", 60, 0);
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
        rows.push((with_opt("web.default", opt), DATA));
    }
    ask_all(&mut twin, &rows);
}

/// The twin checks that the packet is answered or passed as by the engine on the host.
/// That engine is tested for each option by the golden frames.
fn edns_options_are_handled_as_the_engine_does(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
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
            let verdict = twin.ask(&client, server, &with_opt("web.default", opt));
            assert_ne!(verdict, Verdict::Lost);
        }
    });
}

/// A query with this OPT record.
fn with_opt(name: &str, opt: Opt) -> Query {
    Query {
        opt: Some(opt),
        ..query(name)
    }
}

/// Asks for as many addresses as fit into the veth's MTU, and for one address more.
fn replies_up_to_the_mtu_are_sent_and_larger_ones_pass(hook: &str) {
    let mut twin = Twin::new(hook);
    // By MTU, the largest DNS message in bytes over IPv4 and over IPv6. The tc program
    // sends at most 4096 bytes.
    let message_sizes = [(1500, [1472, 1452]), (9000, [4096, 4096])];
    let asked = |name: &str| query(name).edns(65_535);
    let fitting = |size: usize| {
        let fixed = asked("n000.default").message().len();
        u32::try_from((size - fixed) / 16).unwrap()
    };
    let counts = message_sizes.map(|(_, sizes)| sizes.map(fitting));
    for most in counts.as_flattened() {
        for count in [*most, *most + 1] {
            if !twin.holds(&format!("n{count:03}.default")) {
                twin.add(&format!("n{count:03}.default"), count, 0);
            }
        }
    }
    for ((mtu, _), counts) in message_sizes.iter().zip(counts) {
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
