//! The engine against the plain resolver, which is written after CoreDNS. For random
//! clusters and questions, every answer of the engine equals the resolver's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::read;
use headless_agent::records::Index;
use headless_ebpf::abi::Outcome;
use headless_ebpf::respond::Verdict;
use headless_tests::agreement::{self, mirror};
use headless_tests::cluster::{Cluster, cluster, query};
use headless_tests::frame::Query;
use headless_tests::host::Host;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

/// Compares the answers to one question. Returns whether the engine answered.
fn agree(index: &Index, maps: &MemorySink, query: &Query, random: u32) -> bool {
    let host = Host {
        random,
        ..Host::new(maps)
    };
    let verdict = agreement::agree(index, &host, &query.frame());
    matches!(verdict, Verdict::Answer(..))
}

/// Capacities that are too small for most clusters. The namespaces' own records fit.
fn tiny(size: u32) -> Capacities {
    Capacities {
        table_slots: size,
        names_short: 8 + size / 2,
        names_medium: 4 + size / 4,
        names_long: 4 + size / 4,
        chunks: 1 + size,
        endpoint_buckets: size / 4,
        reverse_buckets: size / 6,
    }
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
    fn answers_agree_on_synced_clusters((cluster, queries) in clusters(), random: u32) {
        let (index, writer) = mirror(&cluster, true);
        for query in queries {
            agree(&index, writer.sink(), &query, random);
        }
    }

    /// Where the maps are too small for the cluster, answers agree or questions pass: nothing
    /// that exists is denied, and denials go on.
    #[test]
    fn answers_agree_where_the_maps_are_too_small(
        (cluster, queries) in clusters(),
        size in 1_u32..12,
        random: u32,
    ) {
        let (index, mut writer) = agreement::mirror_in(&cluster, tiny(size), true);
        prop_assert_eq!(writer.failed().len(), 0, "every failure is local");
        for query in &queries {
            agree(&index, writer.sink(), query, random);
        }
        // Another pass brings back what fits, and denies nothing either.
        writer.reconcile(&index).unwrap();
        for query in &queries {
            agree(&index, writer.sink(), query, random);
        }
    }

    #[test]
    fn nothing_is_denied_before_the_cluster_is_synced(
        (cluster, queries) in clusters(),
        random: u32,
    ) {
        let (index, writer) = mirror(&cluster, false);
        for query in queries {
            if agree(&index, writer.sink(), &query, random) {
                let (verdict, _) = Host::new(writer.sink()).respond(&query.frame());
                let is_positive =
                    matches!(verdict, Verdict::Answer(_, Outcome::Data | Outcome::Truncated));
                prop_assert!(is_positive, "{verdict:?}");
            }
        }
    }

    /// A full pass finds no difference between the index and the maps that it was written
    /// to.
    #[test]
    fn the_maps_hold_what_the_index_holds(cluster in cluster()) {
        let (index, mut writer) = mirror(&cluster, true);
        let drift = writer.reconcile(&index).unwrap();
        prop_assert_eq!(drift.total(), 0, "{:?}", drift);
        let stored = read::names(writer.sink()).unwrap();
        let names = index.names().map(|(name, _)| name.as_bytes().to_vec());
        prop_assert_eq!(stored, names.collect::<BTreeSet<_>>());
    }
}

/// The properties above would prove little if the generators made only simple questions.
#[test]
fn random_questions_reach_every_outcome() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..600 {
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
        "PTR data",
        "other nodata",
        "other nxdomain",
        "pass userspace",
        "pass qtype",
        "pass too_large",
        "pass edns_count",
        "pass edns_length",
        "pass edns_option",
        "pass edns_subnet",
    ] {
        assert!(seen.contains_key(label), "no {label} among {seen:?}");
    }
}
