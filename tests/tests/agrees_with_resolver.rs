//! The engine against the plain resolver that is written after CoreDNS: for
//! random clusters and questions, wherever the engine answers it answers as the
//! resolver does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{RecordSink as _, WriteCounts};
use headless_agent::records::{Index, Reply, Transport, reply};
use headless_ebpf::abi::{Outcome, State};
use headless_ebpf::respond::Verdict;
use headless_tests::cluster::{Cluster, cluster, query};
use headless_tests::frame::{HEADERS_LEN, Query, SERVER};
use headless_tests::host::Host;
use headless_tests::{decode, maps};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

/// The index of a cluster, and the maps as the writer has filled them from its
/// changes, event by event.
fn mirror(cluster: &Cluster, synced: bool) -> (Index, Writer<MemorySink>) {
    let state = State {
        flags: if synced { State::COMPLETE } else { 0 },
        ..maps::state()
    };
    let sink = maps::memory(maps::config(cluster.zone, 30), state, SERVER);
    let mut writer = Writer::new(sink, maps::SEED, Arc::<WriteCounts>::default());
    let mut index = cluster.empty_index();
    for event in cluster.events.iter().cloned() {
        writer.apply(&index.apply(event));
    }
    if synced {
        writer.apply(&index.apply_all(Cluster::synced()));
    }
    (index, writer)
}

/// A section as what does not depend on its order, each record in text.
fn section(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

/// Each record is among all of them, and none is there twice.
fn some_of(some: &[Record], all: &[Record], show: &str) {
    let (mut some, all) = (section(some), section(all));
    assert!(some.iter().all(|record| all.contains(record)), "\n{show}");
    let len = some.len();
    some.dedup();
    assert_eq!(some.len(), len, "a record twice\n{show}");
}

/// What the resolver says.
fn resolved(index: &Index, query: &[u8], transport: Transport) -> Message {
    match reply(index, query, transport, &mut fastrand::Rng::with_seed(1)) {
        Reply::Message(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("the engine answers what the resolver does not: {other:?}"),
    }
}

/// Compares one question. Whether it was answered.
fn agree(index: &Index, maps: &MemorySink, query: &Query, random: u32) -> bool {
    let frame = query.frame();
    let host = Host {
        random,
        ..Host::new(maps)
    };
    let (verdict, after) = host.respond(&frame);
    let Verdict::Answer(_, outcome) = verdict else {
        assert_eq!(after, frame);
        return false;
    };
    let message = query.message();
    let got = decode::reply(&frame, &after);
    let want = resolved(index, &message, Transport::Udp);
    let show = format!("engine:\n{got}\nresolver:\n{want}");
    assert_eq!(got.metadata, want.metadata, "header\n{show}");
    assert_eq!(got.queries, want.queries, "question\n{show}");
    assert_eq!(got.edns, want.edns, "OPT\n{show}");
    assert_eq!(
        section(&got.authorities),
        section(&want.authorities),
        "\n{show}"
    );
    if outcome == Outcome::Truncated {
        // Which records is left to chance: they are some of all, and where they
        // are of one length, as many.
        let all = resolved(index, &message, Transport::Tcp);
        some_of(&got.answers, &all.answers, &show);
        some_of(&got.additionals, &all.additionals, &show);
        let has_addresses = got.additionals.is_empty();
        if has_addresses
            && got
                .answers
                .iter()
                .all(|record| record.record_type() != RecordType::SRV)
        {
            assert_eq!(got.answers.len(), want.answers.len(), "\n{show}");
        }
    } else {
        assert_eq!(section(&got.answers), section(&want.answers), "\n{show}");
        assert_eq!(
            section(&got.additionals),
            section(&want.additionals),
            "\n{show}"
        );
    }
    // Both compress as far as they can; only the resolver finds the SOA's own
    // names in a question that ends like them.
    let Reply::Message(bytes) = reply(index, &message, Transport::Udp, &mut fastrand::Rng::new())
    else {
        panic!("answered before");
    };
    let len = after.len() - HEADERS_LEN;
    assert!(
        len == bytes.len() || !got.authorities.is_empty() || outcome == Outcome::Truncated,
        "length\n{show}"
    );
    // What a negative answer says of the zone.
    let negative = matches!(outcome, Outcome::NoData | Outcome::NxDomain);
    assert_eq!(negative, !got.authorities.is_empty(), "\n{show}");
    assert_ne!(got.metadata.response_code, ResponseCode::ServFail);
    true
}

fn clusters() -> impl Strategy<Value = (Cluster, Vec<Query>)> {
    cluster().prop_flat_map(|cluster| {
        let queries = vec(query(&cluster), 40);
        (Just(cluster), queries)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn on_synced_clusters((cluster, queries) in clusters(), random: u32) {
        let (index, writer) = mirror(&cluster, true);
        for query in queries {
            agree(&index, writer.sink(), &query, random);
        }
    }

    /// Before that nothing is denied.
    #[test]
    fn before_the_cluster_is_synced((cluster, queries) in clusters(), random: u32) {
        let (index, writer) = mirror(&cluster, false);
        for query in queries {
            if agree(&index, writer.sink(), &query, random) {
                let (verdict, _) = Host::new(writer.sink()).respond(&query.frame());
                let positive = matches!(verdict, Verdict::Answer(_, Outcome::Data | Outcome::Truncated));
                prop_assert!(positive, "{verdict:?}");
            }
        }
    }

    /// The writer leaves what a fresh one would have written.
    #[test]
    fn maps_hold_what_the_index_knows(cluster in cluster()) {
        let (index, mut writer) = mirror(&cluster, true);
        let drift = writer.reconcile(|name| index.detailed(name), index.names()).unwrap();
        prop_assert_eq!(drift.total(), 0, "{:?}", drift);
        let sink = writer.sink();
        prop_assert_eq!(sink.names.len(), index.names().count());
        prop_assert!(sink.chunk_keys().unwrap().len() <= 4096);
    }
}

/// The generators reach what they are for.
#[test]
fn questions_are_answered_in_every_way() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let (cluster, queries) = clusters().new_tree(&mut runner).unwrap().current();
        let (_, writer) = mirror(&cluster, true);
        for query in queries {
            let (verdict, _) = Host::new(writer.sink()).respond(&query.frame());
            let label = match verdict {
                Verdict::Answer(kind, outcome) => format!("{} {}", kind.label(), outcome.label()),
                Verdict::Pass(reason) => format!("pass {}", reason.label()),
                Verdict::Lost => panic!("lost"),
            };
            *seen.entry(label).or_insert(0u32) += 1;
        }
    }
    for label in [
        "A data",
        "A truncated",
        "A nodata",
        "A nxdomain",
        "AAAA data",
        "AAAA truncated",
        "AAAA nodata",
        "AAAA nxdomain",
        "SRV data",
        "SRV truncated",
        "SRV nodata",
        "SRV nxdomain",
        "other nodata",
        "other nxdomain",
        "pass userspace",
        "pass qtype",
        "pass too_large",
    ] {
        assert!(seen.contains_key(label), "no {label} among {seen:?}");
    }
}
