//! A pod that asks over IPv4 and IPv6. Over IPv6, the pod's kernel drops replies without
//! the right UDP checksum.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;

use headless_tests::agent::{Agent, manifests};
use headless_tests::decode;
use headless_tests::frame::{Query, SERVER, SERVER_V6, qtype};
use headless_tests::node::Node;

headless_tests::for_each_hook! { a_dual_stack_pod_is_answered_over_both_families }

fn a_dual_stack_pod_is_answered_over_both_families(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    node.add_ipv6(&pod);
    let cluster_dns = node.cluster_dns_at(SERVER_V6.into());
    let manifests = manifests();
    let file = manifests.path().join("kube-dns.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let dual = format!("clusterIPs: [{SERVER}, \"{SERVER_V6}\"]");
    let text = text.replace("clusterIPs: [10.96.0.10]", &dual);
    fs::write(&file, text.replace("[IPv4]", "[IPv4, IPv6]")).unwrap();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);

    // The checksum of a message depends on whether its length is even or odd.
    let names = (1..=63).map(|len| format!("{}.default.svc.cluster.local", "x".repeat(len)));
    let service = "nginx-headless.default.svc.cluster.local";
    for server in [IpAddr::V4(SERVER), IpAddr::V6(SERVER_V6)] {
        let client = pod.client_of(server);
        for offload in [true, false] {
            pod.offload_checksums(offload);
            let before = agent.number(&format!("/answers/{hook}"));
            let ask = |query: Query| {
                let reply = client.ask(&query);
                reply.unwrap_or_else(|| panic!("no reply from {server} to {query:?}"))
            };
            for query in [
                Query::new(service, qtype::A),
                Query::new(service, qtype::A).edns(1232),
            ] {
                let mut addresses = decode::addresses(&ask(query).answers);
                addresses.sort_unstable();
                let expected = ["10.0.0.22", "10.0.0.23", "10.0.0.39"];
                assert_eq!(addresses, expected.map(|it| it.parse::<IpAddr>().unwrap()));
            }
            for name in names.clone() {
                assert_eq!(ask(Query::new(&name, qtype::AAAA)).authorities.len(), 1);
            }
            let answered = agent.number(&format!("/answers/{hook}")) - before;
            assert_eq!(answered, 2 + 63, "answers by the kernel, {server}");
        }
    }
    let foreign = Query::new("www.example.com", qtype::A);
    pod.client_of(SERVER_V6.into()).send(&foreign);
    assert_eq!(cluster_dns.receive(), foreign.message());
    assert!(cluster_dns.is_unasked());
}
