//! The engine against the plain resolver that is written after CoreDNS, which
//! knows nothing of maps or frames.

use std::sync::Arc;

use headless_agent::maps::WriteCounts;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::records::{Index, Reply, Transport, reply};
use headless_ebpf::abi::{Outcome, State};
use headless_ebpf::respond::Verdict;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};

use crate::cluster::Cluster;
use crate::frame::{HEADERS_LEN, HEADERS_LEN_V6, SERVER};
use crate::host::Host;
use crate::{decode, frame, maps};

/// The index of a cluster, and the maps as the writer has filled them from its
/// changes, event by event.
pub fn mirror(cluster: &Cluster, synced: bool) -> (Index, Writer<MemorySink>) {
    let sink = maps::memory(maps::config(cluster.zone, 30), State::default(), SERVER);
    let mut writer = Writer::new(sink, maps::SEED, Arc::<WriteCounts>::default());
    let mut index = cluster.empty_index();
    for event in cluster.events.iter().cloned() {
        writer.apply(&index.apply(event));
        writer.point(&index.take_pointers());
    }
    if synced {
        writer.apply(&index.apply_all(Cluster::synced()));
        writer.point(&index.take_pointers());
    }
    maps::live(&mut writer, synced);
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

/// Compares what becomes of a frame with what the resolver says: one that is not
/// answered is as it came, an answer is the resolver's.
pub fn agree(index: &Index, host: &Host<'_>, frame: &[u8]) -> Verdict {
    let (verdict, after) = host.respond(frame);
    let Verdict::Answer(_, outcome) = verdict else {
        assert_eq!(after, frame, "{verdict:?}");
        assert_ne!(verdict, Verdict::Lost);
        return verdict;
    };
    if let (Some(frame), Some(after)) = (frame::untagged(frame), frame::untagged(&after)) {
        agree_on(index, outcome, &frame, &after);
    } else {
        agree_on(index, outcome, frame, &after);
    }
    verdict
}

/// Compares an answered frame without a tag.
fn agree_on(index: &Index, outcome: Outcome, frame: &[u8], after: &[u8]) {
    let headers_len = match frame[12..14] {
        [0x86, 0xdd] => HEADERS_LEN_V6,
        _ => HEADERS_LEN,
    };
    // Padding is not the message's, as the UDP header says.
    let udp = headers_len - 8;
    let udp_len = u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]);
    let message = &frame[headers_len..udp + usize::from(udp_len)];
    let got = decode::reply(frame, after);
    let want = resolved(index, message, Transport::Udp);
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
        let all = resolved(index, message, Transport::Tcp);
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
    let Reply::Message(bytes) = reply(index, message, Transport::Udp, &mut fastrand::Rng::new())
    else {
        panic!("answered before");
    };
    let len = after.len() - headers_len;
    assert!(
        len == bytes.len() || !got.authorities.is_empty() || outcome == Outcome::Truncated,
        "length\n{show}"
    );
    // What a negative answer says of the zone.
    let negative = matches!(outcome, Outcome::NoData | Outcome::NxDomain);
    assert_eq!(negative, !got.authorities.is_empty(), "\n{show}");
    assert_ne!(got.metadata.response_code, ResponseCode::ServFail);
}
