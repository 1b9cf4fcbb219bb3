//! Golden frames through the engine on the host: verdicts, and every byte of the replies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use headless_ebpf::abi::{AnswerKind, Family, Outcome, PassReason};
use headless_ebpf::respond::Verdict;
use headless_ebpf::wire::Image;
use headless_ebpf::wire::frame::{Shape, partial_checksum};
use headless_tests::frame::{self, HEADERS_LEN_V6};
use headless_tests::golden::{self, Case};
use headless_tests::host::{Hook, Host};
use headless_tests::{decode, hex};

/// Runs a case with the random number that makes the reply start as the case says.
fn run(case: &Case, hook: Hook) -> (Verdict, Vec<u8>) {
    let maps = case.memory();
    let host = Host {
        now_ns: 1,
        ..Host::new(&maps).starting(case.start, case.addresses_max())
    };
    host.respond_in(hook, &case.input())
}

#[test]
fn every_frame_has_its_verdict_and_its_bytes() {
    let mut wrong = Vec::new();
    for case in golden::cases() {
        for hook in case.hooks() {
            let (name, (verdict, output)) = (case.name(), run(&case, hook));
            let expected = case.expected(hook);
            if verdict != expected {
                wrong.push(format!("{name} in {hook:?}: {verdict:?}, not {expected:?}"));
                continue;
            }
            if golden::writing() {
                case.write(hook, &output);
            }
            if output != case.output(hook) {
                let output = hex::annotate(&output);
                wrong.push(format!("{name} in {hook:?}: the bytes differ:\n{output}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_observed_frame_leaves_as_it_came_and_is_counted() {
    let mut observed = 0;
    for case in golden::cases() {
        for hook in case.hooks() {
            let Hook::Tc(mtu) = hook else { continue };
            let (verdict, output) = run(&case, Hook::Observed(mtu));
            let expected = match case.expected(hook) {
                Verdict::Answer(..) => Verdict::Pass(PassReason::Observed),
                other => other,
            };
            assert_eq!(verdict, expected, "{}", case.name());
            assert_eq!(output, case.input(), "{}", case.name());
            observed += u32::from(verdict == Verdict::Pass(PassReason::Observed));
        }
    }
    assert!(observed > 100, "{observed} cases have an answer");
}

#[test]
fn another_implementation_reads_the_answers() {
    let cases = golden::cases();
    let runs = cases
        .iter()
        .flat_map(|case| case.hooks().map(|hook| (case, hook)));
    for (case, hook) in runs.filter(|(case, hook)| !case.is_pass(*hook)) {
        let (_, output) = run(case, hook);
        let message = decode::reply(&case.input(), &output);
        let Verdict::Answer(kind, outcome) = case.expected(hook) else {
            unreachable!("filtered");
        };
        let sections = (message.answers.len(), message.authorities.len());
        match outcome {
            Outcome::Data | Outcome::Truncated => assert!(sections.0 > 0 && sections.1 == 0),
            Outcome::NoData | Outcome::NxDomain => assert_eq!(sections, (0, 1)),
        }
        let truncated = outcome == Outcome::Truncated;
        assert_eq!(message.metadata.truncation, truncated, "{}", case.name());
        let glue = message.additionals.len();
        let may_have_glue = kind == AnswerKind::Srv && sections.0 > 0;
        assert!(glue == 0 || may_have_glue, "{}", case.name());
    }
}

/// Clients that ignore TC see only the addresses of a truncated reply. Over all starts of
/// the RRset, each address must therefore appear equally often.
#[test]
fn truncated_answers_have_every_address_equally_often() {
    let cases = [
        ("a_truncated_wraps", Hook::Xdp),
        ("aaaa_truncated", Hook::Xdp),
        ("tc_a_truncated", Hook::Tc(1500)),
    ];
    for (name, hook) in cases {
        let all = golden::cases();
        let case = all.into_iter().find(|case| case.name() == name).unwrap();
        let (maps, frame) = (case.memory(), case.input());
        let total = case.addresses_max();
        let mut times = BTreeMap::new();
        let mut written = 0;
        for start in 0..total {
            let host = Host {
                now_ns: 1,
                ..Host::new(&maps).starting(start, total)
            };
            let (_, output) = host.respond_in(hook, &frame);
            let answers = decode::reply(&frame, &output).answers;
            written = answers.len();
            for address in decode::addresses(&answers) {
                *times.entry(address).or_insert(0) += 1;
            }
        }
        assert!(written < total as usize, "{name} is not truncated");
        assert_eq!(times.len(), total as usize, "{name}");
        let as_often = times.values().all(|times| *times == written);
        assert!(as_often, "{name}: {written} of {total}: {times:?}");
    }
}

/// The records of the replies to a case, sorted, for every start of a reply.
fn from_every_start(name: &str, outcome: Outcome) -> BTreeSet<[Vec<String>; 2]> {
    let all = golden::cases();
    let case = all.into_iter().find(|case| case.name() == name).unwrap();
    let (maps, frame) = (case.memory(), case.input());
    let host = Host {
        now_ns: 1,
        ..Host::new(&maps)
    };
    let replies = host.every_start(case.addresses_max()).map(|host| {
        let (verdict, output) = host.respond_in(Hook::Xdp, &frame);
        let expected = Verdict::Answer(AnswerKind::Srv, outcome);
        assert_eq!(verdict, expected, "{name}");
        let reply = decode::reply(&frame, &output);
        [reply.answers, reply.additionals].map(|records| {
            let mut records: Vec<_> = records.iter().map(ToString::to_string).collect();
            records.sort_unstable();
            records
        })
    });
    replies.collect()
}

/// Whatever target comes first, the walk over the targets takes too many steps.
#[test]
fn long_walks_pass_from_every_start() {
    let all = golden::cases();
    let case = all
        .into_iter()
        .find(|case| case.name() == "pass_srv_too_large");
    let case = case.unwrap();
    let (maps, frame) = (case.memory(), case.input());
    let host = Host {
        now_ns: 1,
        ..Host::new(&maps)
    };
    for host in host.every_start(case.addresses_max()) {
        let (verdict, _) = host.respond_in(Hook::Xdp, &frame);
        assert_eq!(verdict, Verdict::Pass(PassReason::TooLarge), "{host:?}");
    }
}

/// Where all records fit, a reply has the same records whatever comes first.
#[test]
fn whole_srv_answers_are_the_same_from_every_start() {
    for name in [
        "srv_headless",
        "srv_differing",
        "srv_label_continues_whole",
        "srv_same_number",
        "srv_edns",
    ] {
        let replies = from_every_start(name, Outcome::Data);
        assert_eq!(replies.len(), 1, "{name}: {replies:#?}");
    }
}

/// Where not all SRV records or addresses fit, each appears in some reply, and no reply has one
/// twice.
#[test]
fn truncated_srv_answers_have_every_target() {
    for (name, section, data) in [
        ("srv_truncated", 0, 20),
        ("srv_glue_truncated", 1, 6),
        ("srv_label_continues_truncated", 0, 8),
        ("srv_dual_truncated", 1, 6),
        ("srv_several_truncated", 1, 30),
        ("srv_v6_truncated", 1, 3),
    ] {
        let mut seen = BTreeSet::new();
        for reply in from_every_start(name, Outcome::Truncated) {
            for records in &reply {
                let once: BTreeSet<&String> = records.iter().collect();
                assert_eq!(once.len(), records.len(), "{name}: {records:#?}");
            }
            // The last word of an SRV record is the target, that of an address record the address.
            let last = |record: &String| record.rsplit(' ').next().unwrap().to_owned();
            seen.extend(reply[section].iter().map(last));
        }
        assert_eq!(seen.len(), data, "{name}: {seen:?}");
    }
}

/// The suite `malformed` checks the same for the reasons of passes.
#[test]
fn every_kind_and_outcome_of_an_answer_has_a_golden_frame() {
    let cases = golden::cases();
    let verdicts: Vec<_> = cases.iter().map(|case| case.expected(Hook::Xdp)).collect();
    for (kind, outcome) in [
        (AnswerKind::A, Outcome::Data),
        (AnswerKind::A, Outcome::Truncated),
        (AnswerKind::A, Outcome::NoData),
        (AnswerKind::A, Outcome::NxDomain),
        (AnswerKind::Aaaa, Outcome::Data),
        (AnswerKind::Aaaa, Outcome::Truncated),
        (AnswerKind::Aaaa, Outcome::NoData),
        (AnswerKind::Srv, Outcome::Data),
        (AnswerKind::Srv, Outcome::Truncated),
        (AnswerKind::Srv, Outcome::NoData),
        (AnswerKind::Srv, Outcome::NxDomain),
        (AnswerKind::Ptr, Outcome::NoData),
        (AnswerKind::Other, Outcome::Data),
        (AnswerKind::Other, Outcome::NoData),
        (AnswerKind::Other, Outcome::NxDomain),
    ] {
        assert!(
            verdicts.contains(&Verdict::Answer(kind, outcome)),
            "no golden frame has {kind:?} {outcome:?}"
        );
    }
}

/// A device that completes the partial checksum gets the checksum of the whole reply.
#[test]
fn partial_checksums_complete_to_the_whole_checksum() {
    let mut seen = 0;
    for case in golden::cases() {
        let hook = Hook::Tc(case.mtu);
        if case.is_pass(hook) || !case.server.is_ipv6() {
            continue;
        }
        let mut frame = case.output(hook);
        let mut image = Image::default();
        let shape = Shape::new(Family::Ipv6, false);
        image.as_mut_slice()[shape.at()..][..frame.len()].copy_from_slice(&frame);
        let partial = partial_checksum(&image, shape, frame.len());
        let field = HEADERS_LEN_V6 - 2;
        let whole = [frame[field], frame[field + 1]];
        frame[field..][..2].copy_from_slice(&partial.to_le_bytes());
        // The same sum as Linux's `skb_checksum_help`.
        let completed = frame::checksum(&frame[HEADERS_LEN_V6 - 8..]).to_be_bytes();
        assert_eq!(completed, whole, "{}", case.name());
        seen += 1;
    }
    assert!(seen > 5);
}

#[test]
fn replies_start_with_every_address_of_an_rrset() {
    for case in golden::cases() {
        if !matches!(
            case.expected(Hook::Xdp),
            Verdict::Answer(
                AnswerKind::A | AnswerKind::Aaaa,
                Outcome::Data | Outcome::Truncated
            )
        ) {
            continue;
        }
        let maps = case.memory();
        let (input, total) = (case.input(), case.addresses_max());
        let firsts: BTreeSet<_> = (0..total)
            .map(|start| {
                let (_, output) = Host {
                    now_ns: 1,
                    ..Host::new(&maps)
                }
                .starting(start, total)
                .respond(&input);
                let answers = decode::reply(&input, &output).answers;
                *decode::addresses(&answers).first().unwrap()
            })
            .collect();
        let family = firsts
            .iter()
            .all(|at| at.is_ipv4() == firsts.first().unwrap().is_ipv4());
        assert!(family && !firsts.is_empty(), "{}", case.name());
        if case.names.len() == 1
            && case
                .names
                .values()
                .all(|items| items.len() == 1 || !items.concat().contains(':'))
        {
            assert_eq!(firsts.len(), total as usize, "{}", case.name());
        }
    }
}
