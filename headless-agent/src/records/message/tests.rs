//! Replies to queries, read back with hickory-proto.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod compression;
mod edns;
mod queries;
mod size;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::{Name, RData};
use proptest::prelude::{any, prop, prop_assert, proptest};

use super::*;
use crate::records::fixtures::{index, namespace, service, settings, slice};

const NGINX: &str = "nginx-headless.default.svc.cluster.local";

/// A headless Service with `endpoints` endpoints, and one with an external name.
fn nginx(endpoints: usize, ipv6: bool) -> Index {
    let endpoint = |i: usize| {
        let (high, low) = (i / 256, i % 256);
        if ipv6 {
            format!("fd00::{high}:{low}=web-{i}")
        } else {
            format!("10.0.{high}.{low}=web-{i}")
        }
    };
    let endpoints: Vec<_> = (0..endpoints).map(endpoint).collect();
    let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
    index(
        settings(),
        vec![
            namespace("default"),
            service("default", "nginx-headless", "None", &["web/tcp/80"]),
            slice("default/n", "nginx-headless", &["web/tcp/80"], &endpoints),
            service("default", "db", "db.example.com", &[]),
        ],
    )
}

fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A query with id 0x1234, RD and class IN.
fn query(name: &str, qtype: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(wire(name));
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// Appends an OPT record to a query.
fn with_opt(mut query: Vec<u8>, size: u16, ttl: u32, options: &[u8]) -> Vec<u8> {
    query[11] += 1;
    query.extend([0, 0, 41]);
    query.extend(size.to_be_bytes());
    query.extend(ttl.to_be_bytes());
    query.extend((options.len() as u16).to_be_bytes());
    query.extend(options);
    query
}

fn sent(index: &Index, query: &[u8], transport: Transport) -> Vec<u8> {
    match reply(index, query, transport, &mut Rng::with_seed(1)) {
        Reply::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn read(message: &[u8]) -> Message {
    Message::from_vec(message).unwrap()
}

fn udp(index: &Index, query: &[u8]) -> Message {
    read(&sent(index, query, Transport::Udp))
}

/// Number of records in answer and additional section, TC, and length of the reply.
fn size(index: &Index, query: &[u8], transport: Transport) -> (usize, bool, usize) {
    let bytes = sent(index, query, transport);
    let message = read(&bytes);
    let records = message.answers.len() + message.additionals.len();
    (records, message.metadata.truncation, bytes.len())
}

#[test]
fn header_bits_and_question() {
    let index = nginx(3, false);
    // RD, CD and every bit that must not come back: TC, RA, Z, AD.
    let mut query = query("NGINX-headless.default.svc.cluster.local", 1);
    query[2] |= 0b10;
    query[3] |= 0b1111_0000;
    let reply = sent(&index, &query, Transport::Udp);
    assert_eq!(reply[..2], [0x12, 0x34]);
    assert_eq!(
        reply[2..4],
        [0b1000_0101, 0b0001_0000],
        "QR AA RD, CD, NOERROR"
    );
    assert_eq!(
        reply[12..query.len()],
        query[12..],
        "the question as it came"
    );
    let mut without = query.clone();
    (without[2], without[3]) = (0, 0);
    let reply = sent(&index, &without, Transport::Udp);
    assert_eq!(reply[2..4], [0b1000_0100, 0], "no RD, no CD");
    let message = read(&reply);
    let name = Name::from_ascii("NGINX-headless.default.svc.cluster.local.").unwrap();
    assert!(
        message
            .answers
            .iter()
            .all(|record| record.name.eq_case(&name))
    );
    assert_eq!(message.answers.len(), 3);
}

#[test]
fn negative_answers() {
    let index = nginx(3, false);
    for (name, qtype, rcode) in [
        (NGINX, 28, ResponseCode::NoError),
        ("nosuch.cluster.local", 1, ResponseCode::NXDomain),
    ] {
        let message = udp(&index, &query(name, qtype));
        assert_eq!(message.metadata.response_code, rcode);
        assert!(message.metadata.authoritative && message.answers.is_empty());
        assert!(matches!(message.authorities[0].data, RData::SOA(_)));
    }
    let refused = udp(&index, &query(NGINX, 252));
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    assert!(!refused.metadata.authoritative && refused.authorities.is_empty());
}

#[test]
fn addresses_come_in_any_order() {
    let index = nginx(3, false);
    let mut rng = Rng::with_seed(7);
    let mut orders = std::collections::HashSet::new();
    for _ in 0..200 {
        let Reply::Message(message) = reply(&index, &query(NGINX, 1), Transport::Udp, &mut rng)
        else {
            panic!("no message");
        };
        let data = read(&message)
            .answers
            .into_iter()
            .map(|record| record.data.to_string());
        orders.insert(data.collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn names_outside_of_the_zone_are_forwarded() {
    let index = nginx(3, false);
    let query = query("www.example.com", 1);
    let got = reply(&index, &query, Transport::Udp, &mut Rng::with_seed(1));
    let Reply::Forward(forwarded) = got else {
        panic!("{got:?}");
    };
    assert_eq!(forwarded.to, Forward::Upstream);
    assert_eq!(forwarded.question().name.to_ascii(), "www.example.com.");
    let message = read(&forwarded.refused());
    assert_eq!(message.metadata.response_code, ResponseCode::Refused);
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert!(!message.metadata.authoritative);
}

#[test]
fn chains_are_finished_by_the_caller() {
    let index = nginx(3, false);
    let ask = || match reply(
        &index,
        &query("db.default.svc.cluster.local", 1),
        Transport::Udp,
        &mut Rng::with_seed(1),
    ) {
        Reply::Chase(unfinished) => unfinished,
        other => panic!("{other:?}"),
    };
    let target = ask().chases()[0].target.clone();
    assert_eq!(target.to_ascii(), "db.example.com.");
    let address = RData::A("192.0.2.1".parse().unwrap());
    let text = RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["odd".to_owned()]));
    let found = [address, text].map(|data| Record::from_rdata(target.clone(), 9, data));
    let bytes = ask().finish(found.to_vec(), &mut Rng::with_seed(1));
    let answers: Vec<_> = read(&bytes)
        .answers
        .iter()
        .map(Record::record_type)
        .collect();
    assert_eq!(answers, [RecordType::CNAME, RecordType::TXT, RecordType::A]);
    let message = read(&ask().finish(Vec::new(), &mut Rng::with_seed(1)));
    assert_eq!((message.answers.len(), message.authorities.len()), (1, 0));
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
}

proptest! {
    /// Any bytes lead to a valid message or to none.
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), opt: bool) {
        let index = nginx(30, false);
        let mut query = query(NGINX, 1);
        if opt {
            query = with_opt(query, 1232, 0, &bytes);
        } else {
            let len = query.len().min(bytes.len());
            for (at, byte) in bytes[..len].iter().enumerate().filter(|(at, _)| at % 7 == 0) {
                query[at] = *byte;
            }
        }
        for query in [&query, &bytes] {
            if let Reply::Message(message) =
                reply(&index, query, Transport::Udp, &mut Rng::with_seed(1))
            {
                prop_assert!(Message::from_vec(&message).is_ok() || message.len() == 12);
            }
        }
    }
}

/// CoreDNS takes a Service's slices in random order, so every SRV record comes at some time.
#[test]
fn partial_srv_answers_take_turns() {
    let index = nginx(40, false);
    let mut rng = Rng::with_seed(1);
    let mut targets = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let reply = reply(&index, &query(NGINX, 33), Transport::Udp, &mut rng);
        let Reply::Message(bytes) = reply else {
            panic!("{reply:?}");
        };
        let message = read(&bytes);
        assert!(message.metadata.truncation && message.answers.len() < 10);
        targets.extend(message.answers.iter().map(|record| record.data.to_string()));
    }
    assert_eq!(targets.len(), 40);
}
