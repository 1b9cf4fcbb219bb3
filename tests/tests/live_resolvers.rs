//! Resolvers in a pod, answered by the program on the pod's interface: three C
//! libraries' and a client that looks at every byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Output};

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, Pod, wait_for};
use hickory_proto::op::ResponseCode;

headless_tests::for_each_hook! {
    glibc
    busybox
    musl
    rrsets_of_all_sizes
    long_names_and_odd_sizes
    what_is_passed_arrives_as_it_was
}

const WEB: [&str; 3] = ["10.0.0.22", "10.0.0.23", "10.0.0.39"];

/// Runs `check` in a pod of a node with an agent on the demo's manifests, with
/// the pod's checksum offload on and off. All that is asked must be answered by
/// the kernel.
fn in_pod(hook: &str, check: impl Fn(&Pod)) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    for offload in [true, false] {
        pod.offload_checksums(offload);
        let before = agent.number(&format!("/answers/{hook}"));
        check(&pod);
        let answered = agent.number(&format!("/answers/{hook}")) - before;
        assert!(answered > 0, "no answer by the kernel, offload {offload}");
        assert!(cluster_dns.is_unasked(), "passed, offload {offload}");
    }
}

/// The first word of each line, sorted, once.
fn first_words(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let words: BTreeSet<_> = words.map(str::to_owned).collect();
    words.into_iter().collect()
}

fn glibc(hook: &str) {
    in_pod(hook, |pod| {
        for name in [
            "nginx-headless",
            "nginx-headless.default",
            "NGINX-headless.default.svc.cluster.local",
            "nginx-headless.default.svc.cluster.local.",
        ] {
            let output = pod.run("getent", &["ahosts", name]);
            assert!(output.status.success(), "{name}: {output:?}");
            assert_eq!(first_words(&output), WEB, "{name}");
        }
        let output = pod.run("getent", &["ahostsv4", "web-1.nginx-headless"]);
        assert_eq!(first_words(&output), ["10.0.0.23"]);
        let output = pod.run("getent", &["ahostsv4", "frontend"]);
        assert_eq!(first_words(&output), ["10.96.93.17"]);
        // NODATA and NXDOMAIN both end in 2: the key is not there.
        for arguments in [
            ["ahostsv6", "nginx-headless.default.svc.cluster.local."],
            ["ahosts", "nope.default.svc.cluster.local."],
        ] {
            let output = pod.run("getent", &arguments);
            let mapped = first_words(&output)
                .iter()
                .all(|at| at.starts_with("::ffff:"));
            assert!(output.status.code() == Some(2) || mapped, "{output:?}");
        }
    });
}

fn busybox(hook: &str) {
    in_pod(hook, |pod| {
        let output = pod.run(
            "busybox",
            &["nslookup", "nginx-headless.default.svc.cluster.local"],
        );
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        for address in WEB {
            assert!(text.contains(address), "{text}");
        }
        let output = pod.run("busybox", &["nslookup", "nope.default.svc.cluster.local"]);
        let text = format!("{output:?}");
        assert!(text.contains("NXDOMAIN"), "{text}");
    });
}

/// A static program with musl's resolver, which asks for A and AAAA at once and
/// takes neither for the other.
fn musl_program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("getaddrinfo-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/resolver/getaddrinfo.c");
    let output = Command::new("musl-gcc")
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    program
}

fn musl(hook: &str) {
    let program = musl_program();
    in_pod(hook, |pod| {
        for name in ["nginx-headless", "nginx-headless.default.svc.cluster.local"] {
            let output = pod.run(&program, &[name]);
            assert!(output.status.success(), "{name}: {output:?}");
            assert_eq!(first_words(&output), WEB, "{name}");
        }
        let output = pod.run(&program, &["web-2.nginx-headless"]);
        assert_eq!(first_words(&output), ["10.0.0.39"]);
        let output = pod.run(&program, &["nope.default.svc.cluster.local."]);
        assert_eq!(first_words(&output), ["EAI_NONAME"]);
    });
    std::fs::remove_file(program).unwrap();
}

fn rrsets_of_all_sizes(hook: &str) {
    const SIZES: [u32; 10] = [1, 4, 5, 6, 13, 14, 27, 28, 29, 100];
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let addresses = |size: u32| (1..=size).map(|i| Ipv4Addr::from_bits(0x0a03_0000 + i));
    for size in SIZES {
        let texts: Vec<String> = addresses(size).map(|at| at.to_string()).collect();
        let file = manifests.path().join(format!("s{size}.yaml"));
        std::fs::write(file, headless_service(&format!("s{size}"), &texts)).unwrap();
    }
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    let mut truncated = 0;
    for offload in [true, false] {
        pod.offload_checksums(offload);
        for size in SIZES {
            // Short and long names leave different room for records.
            let name = format!("s{size}.default.svc.cluster.local");
            let all: BTreeSet<_> = addresses(size).map(IpAddr::V4).collect();
            // 16 bytes a record behind header and question, without and with
            // an OPT record.
            let used = 12 + name.len() as u32 + 2 + 4;
            for (query, room) in [
                (Query::new(&name, qtype::A), 512 - used),
                (Query::new(&name, qtype::A).edns(512), 512 - used - 11),
            ] {
                let reply = pod.ask(&query);
                let given: BTreeSet<_> = decode::addresses(&reply.answers).into_iter().collect();
                let fits = size.min(room / 16);
                assert_eq!(given.len() as u32, fits, "{size} addresses");
                assert_eq!(reply.answers.len() as u32, fits, "{size} addresses");
                assert_eq!(reply.metadata.truncation, fits < size, "{size} addresses");
                assert!(given.is_subset(&all));
                truncated += u64::from(fits < size);
            }
            // What is larger than XDP can make a packet is tc's, up to what the client
            // takes, here or in jumbo frames.
            for (payload, mtu) in [(1232, 1500), (4096, 1500), (4096, 9000)] {
                pod.set_mtu(&node, mtu);
                wait_for(|| agent.has_mtu(&pod.host_end, mtu));
                let query = Query::new(&name, qtype::A).edns(payload);
                let client = u32::from(payload) - used - 11;
                if used + 11 + 16 * size.min(client / 16) > mtu - 28 {
                    pod.client().send(&query);
                    assert_eq!(cluster_dns.receive(), query.message());
                    continue;
                }
                let reply = pod.ask(&query);
                let given: BTreeSet<_> = decode::addresses(&reply.answers).into_iter().collect();
                let fits = size.min(client / 16);
                assert_eq!(
                    given.len() as u32,
                    fits,
                    "{size} addresses, {payload} bytes"
                );
                assert_eq!(reply.metadata.truncation, fits < size, "{size} addresses");
                assert!(given.is_subset(&all));
                truncated += u64::from(fits < size);
            }
        }
    }
    assert!(cluster_dns.is_unasked());
    let status = agent.status();
    let by_type = status["answers_by_type"].as_array().unwrap();
    let counted = by_type
        .iter()
        .filter(|it| it["qtype"] == "A" && it["outcome"] == "truncated");
    let counted: u64 = counted.map(|it| it["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, truncated);
    // What XDP leaves and tc answers is no pass.
    assert_eq!(
        status["passes"]["too_large"].as_u64().unwrap(),
        2,
        "{status:#}"
    );
    assert!(truncated > 0);
}

fn long_names_and_odd_sizes(hook: &str) {
    in_pod(hook, |pod| {
        // Every length that a name can have: the packet grows at its head, its
        // tail or both.
        for len in 1..=232 {
            let labels = "x".repeat(len);
            let labels: Vec<_> = labels.as_bytes().chunks(63).collect();
            let labels: Vec<_> = labels
                .iter()
                .map(|label| str::from_utf8(label).unwrap())
                .collect();
            let name = format!("{}.svc.cluster.local", labels.join("."));
            let query = Query::new(&name, qtype::AAAA).edns(1232);
            let reply = pod.ask(&query);
            assert_eq!(
                reply.metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
            assert_eq!(reply.authorities.len(), 1);
        }
    });
}

fn what_is_passed_arrives_as_it_was(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    let name = "nginx-headless.default.svc.cluster.local";
    let cases = [
        ("outside_zone", Query::new("example.com", qtype::A)),
        ("qtype", Query::new("cluster.local", qtype::NS)),
        (
            "class",
            Query {
                qclass: 3,
                ..Query::new(name, qtype::A)
            },
        ),
        (
            "opcode",
            Query {
                flags: 0x1100,
                ..Query::new(name, qtype::A)
            },
        ),
        (
            "response",
            Query {
                flags: 0x8000,
                ..Query::new(name, qtype::A)
            },
        ),
        (
            "counts",
            Query {
                counts: Some([2, 0, 0, 0]),
                ..Query::new(name, qtype::A)
            },
        ),
        (
            "trailing",
            Query {
                trailing: vec![0; 9],
                ..Query::new(name, qtype::A)
            },
        ),
        (
            "name",
            Query::of_wire(vec![3, b'w', b'e', b'b', 0xc0, 12], qtype::A),
        ),
        (
            "too_long",
            Query {
                trailing: vec![0; 900],
                ..Query::new(name, qtype::A)
            },
        ),
        ("userspace", Query::new("ns.dns.cluster.local", qtype::A)),
    ];
    for offload in [true, false] {
        pod.offload_checksums(offload);
        let client = pod.client();
        for (reason, query) in &cases {
            let counter = format!("/passes/{reason}");
            let before = agent.number(&counter);
            client.send(query);
            assert_eq!(cluster_dns.receive(), query.message(), "{reason}");
            assert_eq!(agent.number(&counter), before + 1, "{reason}");
        }
    }
    assert_eq!(agent.kernel_answers(), 0);
}
