//! Replies decoded by another DNS implementation, hickory-proto, and the checks that
//! every reply must pass.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record};

use crate::frame::{self, HEADERS_LEN, HEADERS_LEN_V6};

/// Decodes the DNS message of a reply frame, after all checks that do not depend on
/// the question: headers mirrored, lengths, checksums, header flags.
pub fn reply(query: &[u8], reply: &[u8]) -> Message {
    let (q, r) = (query, reply);
    assert_eq!(
        (&r[0..6], &r[6..12]),
        (&q[6..12], &q[0..6]),
        "MAC addresses"
    );
    if let (Some(q), Some(r)) = (frame::untagged(q), frame::untagged(r)) {
        assert_eq!(reply[12..16], query[12..16], "VLAN tag");
        return self::reply(&q, &r);
    }
    assert_eq!(&r[12..14], &q[12..14], "Ethernet type");
    if r[12..14] == [0x86, 0xdd] {
        return reply_v6(q, r);
    }
    assert!(r.len() >= HEADERS_LEN + 12, "a reply of {} bytes", r.len());
    assert_eq!(r[14], 0x45, "IPv4 header without options");
    let word = |at: usize| usize::from(u16::from_be_bytes([r[at], r[at + 1]]));
    assert_eq!(word(16), r.len() - 14, "IPv4 total length");
    assert_eq!(frame::checksum(&r[14..34]), 0, "IPv4 checksum");
    assert!(r[22] >= 1, "hops left");
    assert_eq!(r[23], 17, "UDP");
    assert_eq!(
        (&r[26..30], &r[30..34]),
        (&q[30..34], &q[26..30]),
        "addresses"
    );
    assert_eq!((&r[34..36], &r[36..38]), (&q[36..38], &q[34..36]), "ports");
    assert_eq!(word(38), r.len() - 34, "UDP length");
    assert_eq!(
        word(40),
        0,
        "UDP checksum, which the engine leaves out over IPv4"
    );
    message(&q[HEADERS_LEN..], &r[HEADERS_LEN..])
}

fn reply_v6(q: &[u8], r: &[u8]) -> Message {
    assert!(
        r.len() >= HEADERS_LEN_V6 + 12,
        "a reply of {} bytes",
        r.len()
    );
    let word = |at: usize| usize::from(u16::from_be_bytes([r[at], r[at + 1]]));
    assert_eq!(r[14] >> 4, 6, "version");
    assert_eq!(word(18), r.len() - 54, "payload length");
    assert_eq!(r[20], 17, "UDP");
    assert!(r[21] >= 1, "hops left");
    assert_eq!(
        (&r[22..38], &r[38..54]),
        (&q[38..54], &q[22..38]),
        "addresses"
    );
    assert_eq!((&r[54..56], &r[56..58]), (&q[56..58], &q[54..56]), "ports");
    assert_eq!(word(58), r.len() - 54, "UDP length");
    assert_ne!(word(60), 0, "IPv6 demands a UDP checksum");
    // The pseudo-header of RFC 8200, section 8.1 (addresses, length, next header), then
    // the UDP header and its payload.
    let mut covered = r[22..54].to_vec();
    covered.extend([0, 0, r[58], r[59], 0, 0, 0, 17]);
    covered.extend(&r[54..]);
    assert_eq!(frame::checksum(&covered), 0, "UDP checksum");
    message(&q[HEADERS_LEN_V6..], &r[HEADERS_LEN_V6..])
}

/// Does the same as [`reply`] for DNS messages without headers.
pub fn message(query: &[u8], reply: &[u8]) -> Message {
    let message = Message::from_vec(reply)
        .unwrap_or_else(|error| panic!("hickory-proto cannot read {reply:02x?}: {error}"));
    let metadata = &message.metadata;
    assert_eq!(&reply[0..2], &query[0..2], "id");
    assert_eq!(metadata.message_type, MessageType::Response);
    assert!(metadata.authoritative, "aa");
    assert!(!metadata.recursion_available, "ra");
    assert!(!metadata.authentic_data, "ad");
    assert_eq!(reply[2] & 0x79, query[2] & 0x79, "opcode and rd");
    assert_eq!(reply[3] & 0x70, query[3] & 0x10, "z, ad, cd");
    assert_eq!(&reply[4..6], &[0, 1], "one question");
    let question = question_end(query);
    assert_eq!(reply.get(12..question), query.get(12..question), "question");
    let asked = query[10..12] != [0, 0];
    assert_eq!(
        message.edns.is_some(),
        asked,
        "an OPT record if and only if the query has one"
    );
    message
}

/// Offset of the first byte after the first question of a message.
pub fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

/// Addresses of A and AAAA records, in the order of the records.
pub fn addresses(records: &[Record]) -> Vec<IpAddr> {
    records
        .iter()
        .map(|record| match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            other => panic!("not an address: {other}"),
        })
        .collect()
}
