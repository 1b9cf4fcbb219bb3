//! For every frame, however malformed: the engine does not panic, and a frame that it
//! passes is bit for bit the frame that came.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use headless_agent::maps::memory::MemorySink;
use headless_ebpf::abi::{
    AnswerKind, HashKey, NameFlags, NameRecord, Outcome, PassReason, Path, State,
};
use headless_ebpf::respond::{Scratch, Verdict, respond};
use headless_ebpf::wire::frame::{FramePacket, Packet, Shape};
use headless_ebpf::wire::{Image, Small};
use headless_tests::frame::{
    CLIENT, Envelope, EnvelopeV6, HEADERS_LEN, Query, SERVER, qtype, tagged,
};
use headless_tests::fuzzed::{filled, names};
use headless_tests::host::{Hook, Host};
use headless_tests::{decode, maps};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const ZONE: &str = "svc.cluster.local";

/// A query, most often one that the engine answers.
fn query() -> impl Strategy<Value = Query> {
    let names: Vec<String> = names()
        .iter()
        .map(|(name, _)| format!("{name}.{ZONE}"))
        .chain(
            [
                "nope.default.svc.cluster.local",
                "cluster.local",
                "www.example.com",
            ]
            .map(String::from),
        )
        .collect();
    let opt = prop::option::of(select(&[0u16, 512, 600, 1232, 65535][..]));
    (select(names), select(&[1u16, 28, 16, 33, 6][..]), opt).prop_map(|(name, qtype, opt)| {
        let query = Query::new(&name, qtype);
        match opt {
            Some(size) => query.edns(size),
            None => query,
        }
    })
}

/// Checks that a reply has exactly the records of the name.
fn check_answer(frame: &[u8], reply: &[u8], outcome: Outcome) {
    let message = decode::reply(frame, reply);
    let question = message.queries.first().unwrap();
    let name = question.name().to_lowercase().to_string();
    let relative = name.strip_suffix(".svc.cluster.local.").unwrap_or_default();
    let stored = names()
        .into_iter()
        .find(|(name, _)| name.to_string() == relative);
    let held: BTreeSet<IpAddr> = match (&stored, u16::from(question.query_type())) {
        (Some((_, data)), qtype::A) => data.ipv4.iter().copied().map(IpAddr::V4).collect(),
        (Some((_, data)), qtype::AAAA) => data.ipv6.iter().copied().map(IpAddr::V6).collect(),
        _ => BTreeSet::new(),
    };
    for record in &message.answers {
        assert_eq!(&record.name, question.name(), "owner");
        let is_version = record.record_type() == RecordType::TXT;
        assert_eq!(record.ttl, if is_version { 28_800 } else { 30 });
    }
    if !matches!(question.query_type(), RecordType::A | RecordType::AAAA)
        && matches!(outcome, Outcome::Data | Outcome::Truncated)
    {
        // The suite `agrees_with_resolver` checks these types.
        let kinds = [RecordType::SRV, RecordType::TXT, RecordType::SOA];
        assert!(kinds.contains(&question.query_type()));
        return;
    }
    let given = decode::addresses(&message.answers);
    let distinct: BTreeSet<IpAddr> = given.iter().copied().collect();
    assert_eq!(distinct.len(), given.len(), "no address twice");
    match outcome {
        Outcome::Data => assert_eq!(distinct, held),
        Outcome::Truncated => assert!(distinct.is_subset(&held) && distinct.len() < held.len()),
        Outcome::NoData | Outcome::NxDomain => assert!(held.is_empty() && given.is_empty()),
    }
    let rcode = match outcome {
        Outcome::NxDomain => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    assert_eq!(message.metadata.response_code, rcode);
}

/// Checks the properties that hold for all frames.
fn check(maps: &MemorySink, frame: &[u8], random: u32) {
    assert_ne!(run(maps, frame, random), Verdict::Lost);
}

/// Does the same as [`check`] and returns the verdict.
fn run(maps: &MemorySink, frame: &[u8], random: u32) -> Verdict {
    let host = Host {
        random,
        ..Host::new(maps)
    };
    let (verdict, after) = host.respond(frame);
    match verdict {
        Verdict::Pass(_) => assert_eq!(after, frame, "{verdict:?}"),
        Verdict::Answer(_, outcome) => check_answer(frame, &after, outcome),
        Verdict::Lost => panic!("lost"),
    }
    verdict
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_pass_unchanged(
        frame in prop::collection::vec(any::<u8>(), 0..700),
        random: u32,
    ) {
        check(&filled(), &frame, random);
    }

    #[test]
    fn random_messages_pass_unchanged(
        message in prop::collection::vec(any::<u8>(), 0..540),
        random: u32,
    ) {
        let maps = filled();
        check(&maps, &Envelope::default().wrap(&message), random);
        check(&maps, &EnvelopeV6::default().wrap(&message), random);
    }

    /// The header and the zone are right; the rest of the name is random.
    #[test]
    fn random_names_are_answered_or_pass_unchanged(
        name in prop::collection::vec(prop_oneof![0u8..70, any::<u8>()], 0..260),
        qtype: u16,
        random: u32,
    ) {
        let mut name = name;
        name.extend(b"\x03svc\x07cluster\x05local\0");
        check(&filled(), &Query::of_wire(name, qtype).frame(), random);
    }

    #[test]
    fn mutated_queries_are_answered_or_pass_unchanged(
        query in query(),
        bytes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        bits in prop::collection::vec((any::<Index>(), 0..8u8), 0..3),
        is_ipv6: bool,
        tag in prop::option::of(any::<u16>()),
        random: u32,
    ) {
        let mut frame = if is_ipv6 { query.frame_v6() } else { query.frame() };
        if let Some(tag) = tag {
            frame = tagged(&frame, tag);
        }
        for (at, byte) in bytes {
            *at.get_mut(&mut frame) = byte;
        }
        for (at, bit) in bits {
            *at.get_mut(&mut frame) ^= 1 << bit;
        }
        check(&filled(), &frame, random);
    }

    /// Cuts the frame, which contradicts its length fields, then the message in a frame
    /// with the right length fields.
    #[test]
    fn cut_queries_are_answered_or_pass_unchanged(
        query in query(),
        at: Index,
        padding in 0..64usize,
        random: u32,
    ) {
        let maps = filled();
        let frame = query.frame();
        let cut = &frame[..at.index(frame.len() + 1)];
        let verdict = run(&maps, cut, random);
        prop_assert_eq!(cut.len() == frame.len(), verdict != Verdict::Pass(PassReason::Length)
            && verdict != Verdict::Pass(PassReason::NotDns));
        let message = query.message();
        let cut = &message[..at.index(message.len() + 1)];
        let envelope = Envelope { padding, ..Envelope::default() };
        check(&maps, &envelope.wrap(cut), random);
    }

    /// Every record holds random bytes. Only a record with the right seal may be answered
    /// from.
    #[test]
    fn records_of_random_bytes_are_believed_only_if_sealed(
        query in query(),
        words: [u64; NameRecord::WORDS],
        sealed: bool,
        random: u32,
    ) {
        let mut sink = filled();
        let hash_key = HashKey::from_seed(maps::SEED);
        maps::replace_records(&mut sink, |key, _| {
            let record: NameRecord = bytemuck::cast(words);
            if sealed { record.sealed(&hash_key, key.hash(&hash_key)) } else { record }
        });
        let frame = query.frame();
        let host = Host { random, ..Host::new(&sink) };
        let (verdict, after) = host.respond(&frame);
        match verdict {
            Verdict::Pass(_) => prop_assert_eq!(after, frame),
            // The zone's own records (`Other`) do not come from the maps.
            Verdict::Answer(kind, Outcome::Data | Outcome::Truncated) => {
                prop_assert!(sealed || kind == AnswerKind::Other);
            }
            Verdict::Answer(..) => {
                decode::reply(&frame, &after);
            }
            Verdict::Lost => panic!("lost"),
        }
    }

    /// The packet gets its new size before the engine writes to it.
    #[test]
    fn a_packet_that_cannot_grow_passes_unchanged(
        query in query(),
        room: Index,
        random: u32,
        in_tc: bool,
    ) {
        let maps = filled();
        let frame = query.frame();
        let host = Host { random, ..Host::new(&maps) };
        let hook = if in_tc { Hook::Tc(9000) } else { Hook::Xdp };
        let (roomy, reply) = host.respond_in(hook, &frame);
        let room = frame.len() + room.index(600 - frame.len());
        let (verdict, after) = host.respond_within(hook, &frame, room);
        match roomy {
            Verdict::Answer(..) if reply.len() > room => {
                prop_assert_eq!(verdict, Verdict::Pass(PassReason::NoRoom));
                prop_assert_eq!(after, frame);
            }
            _ => prop_assert_eq!((verdict, after), (roomy, reply)),
        }
    }
}

#[test]
fn names_in_the_maps_are_answered() {
    let maps = filled();
    for (name, data) in names() {
        let frame = Query::new(&format!("{name}.{ZONE}"), qtype::A).frame();
        let verdict = run(&maps, &frame, 7);
        let passes = data.flags.contains(NameFlags::PASS);
        assert_eq!(matches!(verdict, Verdict::Answer(..)), !passes, "{name}");
    }
}

/// A frame that can be resized and cannot be written.
struct Unwritable<'a>(FramePacket<'a>);

impl Packet for Unwritable<'_> {
    type Capacity = Small;

    const TAGS: bool = true;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn prefix<const N: usize>(&self) -> Option<&[u8; N]> {
        self.0.prefix()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.0.byte(at)
    }

    fn load(&self, image: &mut Image, shape: Shape, len: usize) -> bool {
        self.0.load(image, shape, len)
    }

    fn resize(&mut self, len: usize) -> bool {
        self.0.resize(len)
    }

    fn store(&mut self, _image: &Image, _shape: Shape, _len: usize) -> bool {
        false
    }
}

#[test]
fn failed_writes_and_missing_maps_have_reasons() {
    let mut maps = filled();
    let frame = Query::new("web.default.svc.cluster.local", qtype::A).frame();

    let mut buffer = [frame.clone(), vec![0; 200]].concat();
    let mut packet = Unwritable(FramePacket::new(&mut buffer, frame.len()).unwrap());
    let mut scratch = Scratch::default();
    let verdict = respond(&mut packet, &Host::new(&maps), || Ok(&mut scratch));
    assert_eq!(verdict, Verdict::Lost);
    let counter = verdict.counter(Path::Xdp).unwrap();
    assert_eq!(
        counter,
        headless_ebpf::abi::Counter::pass(Path::Xdp, PassReason::Lost)
    );

    let mut buffer = frame.clone();
    let mut packet = FramePacket::new(&mut buffer, frame.len()).unwrap();
    for reason in [PassReason::Map, PassReason::Busy] {
        let memory = || Err::<Scratch, _>(reason);
        let verdict = respond(&mut packet, &Host::new(&maps), memory);
        assert_eq!(verdict, Verdict::Pass(reason), "no working memory");
        assert_eq!(packet.frame(), frame);
    }

    maps.config = None;
    let (verdict, after) = Host::new(&maps).respond(&frame);
    assert_eq!(verdict, Verdict::Pass(PassReason::Map), "no configuration");
    assert_eq!(after, frame);
}

#[test]
fn answers_end_at_the_deadline() {
    let mut maps = filled();
    maps.state = State {
        deadline_ns: 1000,
        ..maps::state()
    };
    let frame = Query::new("web.default.svc.cluster.local", qtype::A).frame();
    for (now_ns, answered) in [(0, true), (999, true), (1000, false), (u64::MAX, false)] {
        let (verdict, _) = Host {
            now_ns,
            ..Host::new(&maps)
        }
        .respond(&frame);
        assert_eq!(matches!(verdict, Verdict::Answer(..)), answered, "{now_ns}");
    }
}

#[test]
fn the_reply_goes_back_to_the_client() {
    let maps = filled();
    let frame = Query::new("web.default.svc.cluster.local", qtype::A).frame();
    let (_, reply) = Host::new(&maps).respond(&frame);
    assert_eq!(reply[26..30], SERVER.octets());
    assert_eq!(reply[30..34], CLIENT.octets());
    assert_eq!(reply[34..38], [0, 53, 0x9c, 0x40]);
    assert_eq!(reply[HEADERS_LEN..HEADERS_LEN + 2], [0x12, 0x67]);
}
