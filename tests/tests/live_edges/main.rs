//! Unusual packets as pods send them, on a live veth.
//!
//! Each test runs once with XDP before tc and once with tc alone. Most ask over both IP
//! versions, with the UDP checksum computed by the pod or left to its device. A tap at the
//! pod's end captures the replies, which must equal the engine's on the host byte for byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod frames;
mod joined;
mod names;

use std::net::IpAddr;

use headless_ebpf::abi::{AnswerKind, Outcome};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Query, qtype};
use headless_tests::twin::{SERVERS, Twin};

const ZONE: &str = "svc.cluster.local";

const DATA: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Data);
const TRUNCATED: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Truncated);
const NXDOMAIN: Verdict = Verdict::Answer(AnswerKind::A, Outcome::NxDomain);

/// Calls `ask` for each served address, first with checksum offload, then without.
fn everywhere(twin: &mut Twin, mut ask: impl FnMut(&Twin, IpAddr)) {
    for offload in [true, false] {
        twin.offload_checksums(offload);
        for server in SERVERS {
            ask(twin, server);
        }
    }
}

/// Sends each query [`everywhere`] and checks its verdict.
fn ask_all(twin: &mut Twin, rows: &[(Query, Verdict)]) {
    everywhere(twin, |twin, server| {
        let client = twin.pod.client_of(server);
        for (query, verdict) in rows {
            let found = twin.ask(&client, server, query);
            assert_eq!(found, *verdict, "{query:?} to {server}");
        }
    });
}

/// A query for the A records of a name below `svc`.
fn query(name: &str) -> Query {
    Query::new(&format!("{name}.{ZONE}"), qtype::A)
}
