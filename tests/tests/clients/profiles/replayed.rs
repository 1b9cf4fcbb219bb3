//! Clients whose queries are sent as they were seen, without the client.

use std::fmt::Write as _;

use headless_ebpf::wire::dns::qtype::{A, AAAA, PTR};
use headless_tests::differential::message::{Decoded, DnsName, Query};
use headless_tests::served_node;

use super::{Needs, Profile};
use crate::cluster::WEB;
use crate::site::{Site, View, view};

/// The search path in a pod of the namespace `default`.
const SEARCH: [&str; 3] = [
    ".default.svc.cluster.local",
    ".svc.cluster.local",
    ".cluster.local",
];

/// The reverse name of an IPv4 address.
fn reverse(address: &str) -> String {
    let octets: Vec<_> = address.rsplit('.').collect();
    octets.join(".") + ".in-addr.arpa"
}

/// busybox 1.28, which Kubernetes's tutorials use because later ones ignored the search path for
/// a while. Its `nslookup` asks for the server's name, then each name of the search path until
/// there is an answer, A and AAAA, then for the name of each address. It sends no EDNS.
fn busybox_1_28(site: &Site<'_>) -> View {
    let client = served_node::client(site.pod).unwrap();
    let mut lines = String::new();
    let mut ask = |name: &str, qtype: u16| {
        let mut query = Query::new(DnsName::new(name), qtype);
        query.id = fastrand::u16(1..);
        let reply = client.ask(&query.bytes()).unwrap();
        let reply = Decoded::new(&reply).unwrap();
        for record in reply.sections.iter().flatten() {
            writeln!(lines, "{name} {qtype}: {} {}", record.owner, record.rest).unwrap();
        }
        writeln!(lines, "{name} {qtype}: flags {:#06x}", reply.flags).unwrap();
        !reply.sections[0].is_empty()
    };
    ask(&reverse("10.96.0.10"), PTR);
    for name in ["web", "web-1.web", "api", "kubernetes.default", "nope"] {
        let names = SEARCH.iter().map(|suffix| format!("{name}{suffix}"));
        for name in names {
            let found = [A, AAAA].map(|qtype| ask(&name, qtype));
            if found.contains(&true) {
                break;
            }
        }
    }
    for address in WEB {
        ask(&reverse(address), PTR);
    }
    view(&lines)
}

pub(super) fn all() -> Vec<Profile> {
    vec![Profile::new(
        "busybox 1.28, replayed",
        Needs::Nothing,
        busybox_1_28,
    )]
}
