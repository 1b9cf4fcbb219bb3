//! All faults of a packet, with the golden frames that have them. Each such frame passes
//! in both programs, with the reason of its fault.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use headless_ebpf::abi::PassReason;
use headless_ebpf::respond::Verdict;
use headless_tests::golden::{self, Case};

/// Kinds of faults: a description, the reason of the pass, and the golden frames without
/// the prefix `pass_`.
const CORPUS: &[(&str, PassReason, &[&str])] = &[
    (
        "length fields that are wrong",
        PassReason::Length,
        &[
            "cut",
            "ip_length_header",
            "ip_length_most",
            "ip_length_zero",
            "ip_longer",
            "ip_shorter",
            "udp_length_seven",
            "udp_length_zero",
            "udp_longer",
            "udp_shorter",
            "v6_cut",
            "v6_lengths_most",
            "v6_lengths_zero",
            "v6_payload_length",
            "v6_payload_zero",
            "v6_udp_length",
            "v6_udp_length_seven",
        ],
    ),
    (
        "frames that end at a header or within one",
        PassReason::NotDns,
        &[
            "ethernet_cut",
            "ethernet_only",
            "ip_cut",
            "ip_only",
            "short_frame",
            "v6_cut_ip",
            "v6_ip_only",
            "v6_no_header",
        ],
    ),
    (
        "messages that are missing or cut",
        PassReason::Length,
        &[
            "label_over_zone",
            "no_header",
            "no_root",
            "type_cut",
            "type_only",
            "udp_empty",
            "udp_only",
            "v6_udp_empty",
            "v6_udp_only",
        ],
    ),
    (
        "messages longer than the engine reads",
        PassReason::TooLong,
        &["too_long", "v6_too_long"],
    ),
    (
        "other protocols than IP and UDP",
        PassReason::NotDns,
        &[
            "arp",
            "llc",
            "v6_authentication",
            "v6_no_next_header",
            "vlan",
            "vlan_twice",
        ],
    ),
    (
        "impossible IP versions and header lengths",
        PassReason::IpHeader,
        &[
            "ihl_beyond",
            "ihl_four",
            "ihl_zero",
            "ip_version",
            "ip_version_zero",
            "v6_version",
            "v6_version_zero",
        ],
    ),
    (
        "fragments",
        PassReason::IpHeader,
        &[
            "first_fragment",
            "last_fragment",
            "middle_fragment",
            "v6_atomic_fragment",
            "v6_fragment",
        ],
    ),
    (
        "IPv4 options and IPv6 extension headers",
        PassReason::IpHeader,
        &[
            "ip_options",
            "ip_options_most",
            "v6_chain",
            "v6_destination_options",
            "v6_hop_by_hop",
            "v6_routing",
        ],
    ),
    (
        "wrong IPv4 checksums",
        PassReason::IpHeader,
        &["ip_checksum", "ip_checksum_zero"],
    ),
    (
        "responses",
        PassReason::Response,
        &["response", "response_of_update"],
    ),
    (
        "other opcodes",
        PassReason::Opcode,
        &[
            "opcode_fifteen",
            "opcode_inverse",
            "opcode_notify",
            "opcode_stateful",
            "opcode_status",
            "opcode_update",
        ],
    ),
    (
        "queries with TC",
        PassReason::Truncated,
        &["truncated", "truncated_edns"],
    ),
    (
        "record counts that a query does not have",
        PassReason::Counts,
        &[
            "additional_count_high",
            "answer_opt",
            "answer_record",
            "authority_record",
            "counts_most",
            "edns_two_opts",
            "header_only_no_question",
            "no_question",
            "question_count_high",
            "two_additional",
            "two_questions",
        ],
    ),
    (
        "compression pointers in a question",
        PassReason::Name,
        &[
            "pointer",
            "pointer_ahead",
            "pointer_before_zone",
            "pointer_cut",
            "pointer_loop",
            "pointer_loop_label",
            "pointer_loop_of_two",
            "pointer_to_header",
            "pointer_to_zone",
        ],
    ),
    (
        "labels of unknown types or wrong lengths",
        PassReason::Name,
        &[
            "label_64",
            "label_beyond",
            "label_into_zone",
            "label_type_1",
            "label_type_2",
        ],
    ),
    (
        "names that are too long or do not end",
        PassReason::Name,
        &[
            "128_labels",
            "256",
            "header_only",
            "name_cut",
            "name_of_lengths",
        ],
    ),
    (
        "names that end with the zone's bytes but not its labels",
        PassReason::OutsideZone,
        &["zone_within_label"],
    ),
    (
        "other classes",
        PassReason::Class,
        &[
            "chaos",
            "class_any",
            "class_none",
            "class_unicast",
            "class_zero",
            "root_within",
        ],
    ),
    (
        "types that no question may have",
        PassReason::Qtype,
        &["type_0", "type_opt"],
    ),
    (
        "bytes after the question",
        PassReason::Trailing,
        &["edns_uncounted", "trailing", "trailing_zone"],
    ),
    (
        "malformed OPT records, and other records in their place",
        PassReason::Edns,
        &[
            "additional_a",
            "edns_bare_within",
            "edns_cookie_length_beyond",
            "edns_cookie_length_short",
            "edns_cut",
            "edns_length_beyond",
            "edns_length_most",
            "edns_length_short",
            "edns_missing",
            "edns_name",
            "edns_pointer",
            "edns_trailing",
            "second_opt",
            "tsig",
        ],
    ),
    (
        "other versions of EDNS",
        PassReason::EdnsVersion,
        &["edns_cookie_version", "edns_version", "edns_version_most"],
    ),
    (
        "more EDNS options than the engine reads",
        PassReason::EdnsCount,
        &["edns_five_options", "edns_four_and_cut"],
    ),
    (
        "more bytes of EDNS options than the engine reads",
        PassReason::EdnsLength,
        &["edns_long_options", "edns_padding"],
    ),
    (
        "EDNS options that CoreDNS refuses",
        PassReason::EdnsOption,
        &[
            "edns_error_short",
            "edns_expire_short",
            "edns_keepalive_long",
            "edns_keepalive_one",
            "edns_lease_five",
            "edns_llq_short",
            "edns_option_beyond",
            "edns_option_cut",
            "edns_report_channel",
            "edns_second_option_beyond",
            "edns_second_option_cut",
            "edns_zone_version_short",
        ],
    ),
    (
        "client subnets that CoreDNS refuses",
        PassReason::EdnsSubnet,
        &[
            "edns_subnet_empty",
            "edns_subnet_family",
            "edns_subnet_no_family",
            "edns_subnet_prefix",
            "edns_subnet_prefix_v6",
            "edns_subnet_scope",
            "edns_subnet_short",
        ],
    ),
];

/// Reasons for which well-formed packets pass. Golden frames have these too.
const WELL_FORMED: [PassReason; 7] = [
    PassReason::AgentStale,
    PassReason::Userspace,
    PassReason::Incomplete,
    PassReason::Changed,
    PassReason::TooLarge,
    PassReason::NotServed,
    PassReason::OutsideZone,
];

/// Reasons that a frame alone does not cause, each with the file and the name of the test
/// that causes it.
const BY_OTHER_TESTS: [(PassReason, &str, &str); 7] = [
    (
        PassReason::Observed,
        "golden.rs",
        "an_observed_frame_leaves_as_it_came_and_is_counted",
    ),
    (
        PassReason::Busy,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    (
        PassReason::NoRoom,
        "pass_is_untouched.rs",
        "a_packet_that_cannot_grow_passes_unchanged",
    ),
    (
        PassReason::Map,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    (
        PassReason::Map,
        "live_states.rs",
        "tc_passes_replies_for_an_interface_without_mtu",
    ),
    (
        PassReason::Lost,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    // Several datagrams in one buffer, whose length fields are right.
    (
        PassReason::Length,
        "live_edges/joined.rs",
        "queries_joined_by_the_sender",
    ),
];

fn cases() -> BTreeMap<String, Case> {
    golden::cases()
        .into_iter()
        .map(|case| (case.name(), case))
        .collect()
}

/// Reasons for which the cases pass, in any program.
fn reasons<'a>(cases: impl IntoIterator<Item = &'a Case>) -> BTreeSet<PassReason> {
    let verdicts = cases
        .into_iter()
        .flat_map(|case| case.hooks().map(|hook| case.expected(hook)));
    verdicts
        .filter_map(|verdict| match verdict {
            Verdict::Pass(reason) => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn every_malformed_frame_passes_with_its_reason() {
    let cases = cases();
    let mut seen = BTreeSet::new();
    for (about, reason, frames) in CORPUS {
        for frame in *frames {
            let name = format!("pass_{frame}");
            let case = cases.get(&name);
            let case = case.unwrap_or_else(|| panic!("{about}: no frame {name}"));
            for hook in case.hooks() {
                let found = case.expected(hook);
                assert_eq!(found, Verdict::Pass(*reason), "{about}: {name} in {hook:?}");
            }
            assert!(seen.insert(name), "{frame} is listed twice");
        }
    }
}

#[test]
fn every_pass_reason_has_a_test() {
    let cases = cases();
    let malformed: BTreeSet<_> = CORPUS.iter().map(|(_, reason, _)| *reason).collect();
    let by_frames = reasons(cases.values());
    for reason in WELL_FORMED {
        assert!(
            by_frames.contains(&reason),
            "no golden frame has {reason:?}"
        );
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut by_other_tests = BTreeSet::new();
    for (reason, file, test) in BY_OTHER_TESTS {
        let text = fs::read_to_string(tests.join(file)).unwrap();
        assert!(
            text.contains(&format!("fn {test}(")),
            "{reason:?}: {file} has no test {test}"
        );
        let mentions = text.contains(&format!("PassReason::{reason:?}"));
        assert!(mentions, "{file} does not mention {reason:?}");
        by_other_tests.insert(reason);
    }
    for reason in PassReason::ALL {
        assert!(
            malformed.contains(reason)
                || WELL_FORMED.contains(reason)
                || by_other_tests.contains(reason),
            "no test causes {reason:?}"
        );
    }
}
