//! Compares the engine with the resolver. The resolver follows CoreDNS's code and knows
//! nothing of maps and frames, so the two share few faults.

use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::records::{Index, Reply, Transport, reply};
use headless_ebpf::abi::Outcome;
use headless_ebpf::respond::Verdict;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};

use crate::cluster::Cluster;
use crate::frame::{HEADERS_LEN, HEADERS_LEN_V6, SERVER};
use crate::host::Host;
use crate::{decode, frame, maps};

/// The index of a cluster, and a writer with the maps that it has filled event by event.
/// With `synced` the maps are complete, so that denials are given.
pub fn mirror(cluster: &Cluster, synced: bool) -> (Index, Writer<MemorySink>) {
    mirror_in(cluster, maps::CAPACITIES, synced)
}

/// [`mirror`] with maps of these capacities.
pub fn mirror_in(
    cluster: &Cluster,
    capacities: Capacities,
    synced: bool,
) -> (Index, Writer<MemorySink>) {
    let mut config = maps::config(cluster.zone, 30);
    config.any_class = 1;
    let mut sink = MemorySink::new(config, capacities);
    maps::serve(&mut sink, [SERVER.into()]);
    let mut writer = maps::writer(sink);
    let mut index = cluster.empty_index();
    for event in cluster.events.iter().cloned() {
        let changes = index.apply(event);
        writer.write(&changes, &index);
        let pointers = index.take_pointers();
        writer.point(&pointers, &index);
    }
    if synced {
        let changes = index.apply_all(Cluster::synced());
        writer.write(&changes, &index);
    }
    maps::live(&mut writer, synced);
    (index, writer)
}

/// The records of a section as text, sorted, because their order is random.
fn section(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}

/// Asserts that every record of `some` is in `all`, and that none is there twice.
fn some_of(some: &[Record], all: &[Record], show: &str) {
    let (mut some, all) = (section(some), section(all));
    assert!(some.iter().all(|record| all.contains(record)), "\n{show}");
    let len = some.len();
    some.dedup();
    assert_eq!(some.len(), len, "a record twice\n{show}");
}

/// The resolver's reply to a query.
fn resolved(index: &Index, query: &[u8], transport: Transport) -> Message {
    match reply(index, query, transport, &mut fastrand::Rng::with_seed(1)) {
        Reply::Message(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("the engine answers what the resolver does not: {other:?}"),
    }
}

/// Runs the engine on a frame, and compares the answer with the resolver's reply. A frame
/// that is not answered must be unchanged. Returns the verdict.
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

/// Compares the answer to a frame without VLAN tag with the resolver's reply.
fn agree_on(index: &Index, outcome: Outcome, frame: &[u8], after: &[u8]) {
    let headers_len = match frame[12..14] {
        [0x86, 0xdd] => HEADERS_LEN_V6,
        _ => HEADERS_LEN,
    };
    // The message ends where the UDP header says. Bytes behind it are padding.
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
        // The records of a truncated reply are chosen at random. All must exist. If they
        // have the same length, both replies must have the same number.
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
    // Both compress names, so both replies have the same length. SOA records are excepted:
    // only the resolver points their names to an equal part of the question.
    let Reply::Message(bytes) = reply(index, message, Transport::Udp, &mut fastrand::Rng::new())
    else {
        panic!("answered before");
    };
    let len = after.len() - headers_len;
    assert!(
        len == bytes.len() || !got.authorities.is_empty() || outcome == Outcome::Truncated,
        "length\n{show}"
    );
    // Denials have a SOA record, other answers have none.
    let negative = matches!(outcome, Outcome::NoData | Outcome::NxDomain);
    assert_eq!(negative, !got.authorities.is_empty(), "\n{show}");
    assert_ne!(got.metadata.response_code, ResponseCode::ServFail);
}
