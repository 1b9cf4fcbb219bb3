//! Resolvers in a pod, answered by the program on the pod's interface: glibc's,
//! busybox's, musl's, and a client of our own that checks every byte.

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
    glibc_resolves_names
    busybox_resolves_names
    musl_resolves_names
    rrsets_of_all_sizes_are_answered
    names_of_all_lengths_are_answered
    passed_queries_arrive_unchanged
}

/// Addresses of the demo's headless Service.
const WEB: [&str; 3] = ["10.0.0.22", "10.0.0.23", "10.0.0.39"];

/// Runs `check` in a pod of a node whose agent reads the demo's manifests, first with
/// the pod's checksum offload, then without. The kernel must answer every query of
/// `check`.
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
        assert!(answered > 0, "the kernel gave no answer, offload {offload}");
        assert!(
            cluster_dns.is_unasked(),
            "a query was passed, offload {offload}"
        );
    }
}

/// First words of all lines, sorted and without duplicates.
fn first_words(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let words: BTreeSet<_> = words.map(str::to_owned).collect();
    words.into_iter().collect()
}

fn glibc_resolves_names(hook: &str) {
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
        // `getent` ends with status 2 for NODATA and NXDOMAIN ("key not found"). Its
        // `ahostsv6` may give the IPv4 addresses instead, mapped into IPv6.
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

fn busybox_resolves_names(hook: &str) {
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

/// Compiles a static program with musl's resolver, which sends the queries for A and
/// AAAA at once and must not confuse the replies.
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

fn musl_resolves_names(hook: &str) {
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

/// A headless Service of `size` endpoints and a query for its addresses.
struct Asked {
    size: u32,
    query: Query,
    /// Bytes of the reply before its answer section, and of its OPT record.
    used: u32,
}

impl Asked {
    /// A query without EDNS, or with this payload size in bytes.
    fn new(size: u32, payload: Option<u16>) -> Self {
        let name = format!("s{size}.default.svc.cluster.local");
        let query = Query::new(&name, qtype::A);
        // The header, the name in wire form, type and class.
        let used = 12 + name.len() as u32 + 2 + 4;
        match payload {
            None => Self { size, query, used },
            Some(payload) => Self {
                size,
                query: query.edns(payload),
                used: used + 11,
            },
        }
    }

    /// Number of addresses that a reply of at most `limit` bytes holds, at 16 bytes each.
    fn fitting(&self, limit: u32) -> u32 {
        self.size.min((limit - self.used) / 16)
    }

    /// Asks, and checks that the reply has as many addresses as fit into `limit` bytes.
    /// Returns whether it is truncated.
    fn check(&self, pod: &Pod, limit: u32) -> bool {
        let reply = pod.ask(&self.query);
        let given: BTreeSet<_> = decode::addresses(&reply.answers).into_iter().collect();
        let all: BTreeSet<_> = addresses(self.size).map(IpAddr::V4).collect();
        let (size, fits) = (self.size, self.fitting(limit));
        let about = format!("{size} addresses in {limit} bytes");
        assert_eq!(given.len() as u32, fits, "{about}");
        assert_eq!(reply.answers.len() as u32, fits, "{about}");
        assert_eq!(reply.metadata.truncation, fits < size, "{about}");
        assert!(given.is_subset(&all), "{about}");
        fits < size
    }
}

/// The first `size` addresses of 10.3.0.0/16.
fn addresses(size: u32) -> impl Iterator<Item = Ipv4Addr> {
    (1..=size).map(|i| Ipv4Addr::from_bits(0x0a03_0000 + i))
}

fn rrsets_of_all_sizes_are_answered(hook: &str) {
    const SIZES: [u32; 10] = [1, 4, 5, 6, 13, 14, 27, 28, 29, 100];
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
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
            for payload in [None, Some(512)] {
                truncated += u64::from(Asked::new(size, payload).check(&pod, 512));
            }
            // The tc program sends replies that are too large for XDP, up to the client's
            // payload size. Where the reply would exceed the MTU, the query passes.
            for (payload, mtu) in [(1232, 1500), (4096, 1500), (4096, 9000)] {
                pod.set_mtu(&node, mtu);
                wait_for(|| agent.has_mtu(&pod.host_end, mtu));
                let asked = Asked::new(size, Some(payload));
                let limit = u32::from(payload);
                let headers = 20 + 8;
                if asked.used + 16 * asked.fitting(limit) > mtu - headers {
                    pod.client().send(&asked.query);
                    assert_eq!(cluster_dns.receive(), asked.query.message());
                } else {
                    truncated += u64::from(asked.check(&pod, limit));
                }
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
    // A query that XDP leaves to tc is no pass. Only the two too large for the MTU are.
    assert_eq!(
        status["passes"]["too_large"].as_u64().unwrap(),
        2,
        "{status:#}"
    );
    assert!(truncated > 0);
}

fn names_of_all_lengths_are_answered(hook: &str) {
    in_pod(hook, |pod| {
        // The lengths make the packet grow at its head, at its tail, or at both.
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

/// Queries that pass, each with its reason as the counters call it.
fn passed_queries() -> [(&'static str, Query); 10] {
    let name = "nginx-headless.default.svc.cluster.local";
    [
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
    ]
}

fn passed_queries_arrive_unchanged(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    for offload in [true, false] {
        pod.offload_checksums(offload);
        let client = pod.client();
        for (reason, query) in &passed_queries() {
            let counter = format!("/passes/{reason}");
            let before = agent.number(&counter);
            client.send(query);
            assert_eq!(cluster_dns.receive(), query.message(), "{reason}");
            assert_eq!(agent.number(&counter), before + 1, "{reason}");
        }
    }
    assert_eq!(agent.kernel_answers(), 0);
}
