//! What can be wrong with a packet, and the golden frames that have it: each passes
//! with a reason of its own, in both programs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use headless_ebpf::abi::PassReason;
use headless_ebpf::respond::Verdict;
use headless_tests::golden::{self, Case};

/// What is wrong, the reason that it is passed for, and the frames, `pass_` left out.
const CORPUS: &[(&str, PassReason, &[&str])] = &[
    (
        "lengths that lie",
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
        "frames that end at or within a header",
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
        "messages that are missing, or end before they should",
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
        "more than is read",
        PassReason::TooLong,
        &["too_long", "v6_too_long"],
    ),
    (
        "headers of another kind",
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
        "versions and header lengths that cannot be",
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
        "options and extension headers",
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
        "wrong checksums",
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
        "truncated queries",
        PassReason::Truncated,
        &["truncated", "truncated_edns"],
    ),
    (
        "other counts than a query has",
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
        "pointers in a question, in circles and elsewhere",
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
        "labels of other types, and whose length lies",
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
        "names too long, and without an end",
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
        "names whose end the zone is not",
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
        "types that are no question's",
        PassReason::Qtype,
        &["type_0", "type_opt"],
    ),
    (
        "bytes behind the question",
        PassReason::Trailing,
        &["edns_uncounted", "trailing", "trailing_zone"],
    ),
    (
        "OPT records that are none, or not alone",
        PassReason::Edns,
        &[
            "additional_a",
            "edns_cut",
            "edns_length_beyond",
            "edns_length_most",
            "edns_length_short",
            "edns_missing",
            "edns_name",
            "edns_option_beyond",
            "edns_option_cut",
            "edns_pointer",
            "edns_trailing",
            "edns_version",
            "edns_version_most",
            "second_opt",
            "tsig",
        ],
    ),
];

/// Reasons that have nothing to do with what is wrong with a packet: golden frames have
/// them all the same.
const WELL_FORMED: [PassReason; 7] = [
    PassReason::AgentStale,
    PassReason::Userspace,
    PassReason::Incomplete,
    PassReason::Changed,
    PassReason::TooLarge,
    PassReason::NotServed,
    PassReason::OutsideZone,
];

/// Reasons that no frame brings about, each with a test that does something else.
const ELSEWHERE: [(PassReason, &str, &str); 5] = [
    (PassReason::NoRoom, "pass_is_untouched.rs", "no_room"),
    (
        PassReason::Map,
        "pass_is_untouched.rs",
        "reasons_that_no_frame_brings_about",
    ),
    (
        PassReason::Map,
        "live_states.rs",
        "an_interface_that_tc_does_not_know",
    ),
    (
        PassReason::Lost,
        "pass_is_untouched.rs",
        "reasons_that_no_frame_brings_about",
    ),
    // Several datagrams in one buffer, with a length that is right.
    (
        PassReason::Length,
        "live_edges.rs",
        "queries_joined_by_the_sender",
    ),
];

fn cases() -> BTreeMap<String, Case> {
    golden::cases()
        .into_iter()
        .map(|case| (case.name(), case))
        .collect()
}

/// Reasons for which a case passes in any program.
fn reasons<'a>(cases: impl IntoIterator<Item = &'a Case>) -> BTreeSet<PassReason> {
    let verdicts = cases
        .into_iter()
        .flat_map(|case| case.homes().map(|home| case.expected(home)));
    verdicts
        .filter_map(|verdict| match verdict {
            Verdict::Pass(reason) => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn whatever_is_wrong_passes_with_its_reason() {
    let cases = cases();
    let mut seen = BTreeSet::new();
    for (about, reason, frames) in CORPUS {
        for frame in *frames {
            let name = format!("pass_{frame}");
            let case = cases.get(&name);
            let case = case.unwrap_or_else(|| panic!("{about}: no frame {name}"));
            // What is in order cannot be the reason: the name is there.
            for home in case.homes() {
                let found = case.expected(home);
                assert_eq!(found, Verdict::Pass(*reason), "{about}: {name} in {home:?}");
            }
            assert!(seen.insert(name), "{frame} twice");
        }
    }
}

#[test]
fn every_reason_is_brought_about() {
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
    let mut elsewhere = BTreeSet::new();
    for (reason, file, test) in ELSEWHERE {
        let text = fs::read_to_string(tests.join(file)).unwrap();
        assert!(
            text.contains(&format!("fn {test}(")),
            "{reason:?}: no {test} in {file}"
        );
        let says = text.contains(&format!("PassReason::{reason:?}"));
        assert!(says, "{file} does not say {reason:?}");
        elsewhere.insert(reason);
    }
    for reason in PassReason::ALL {
        assert!(
            malformed.contains(reason)
                || WELL_FORMED.contains(reason)
                || elsewhere.contains(reason),
            "{reason:?} is brought about by nothing"
        );
    }
}
