//! dns-rules 1.6. Replies are read back with hickory-proto.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::{Name, RData};
use proptest::prelude::{any, prop, prop_assert, proptest};

use super::*;
use crate::records::fixtures::{index, namespace, service, settings, slice};

const NGINX: &str = "nginx-headless.default.svc.cluster.local";

/// A headless Service with so many endpoints.
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

/// Id 0x1234, RD, class IN.
fn query(name: &str, qtype: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(wire(name));
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// The query with an OPT record.
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

/// How many records come back, whether truncated, how long.
fn size(index: &Index, query: &[u8], transport: Transport) -> (usize, bool, usize) {
    let bytes = sent(index, query, transport);
    let message = read(&bytes);
    let records = message.answers.len() + message.additionals.len();
    (records, message.metadata.truncation, bytes.len())
}

#[test]
fn records_that_fit() {
    for (ipv6, qtype, plain, small, usual, large) in
        [(false, 1, 28, 27, 72, 251), (true, 28, 16, 15, 41, 143)]
    {
        let index = nginx(300, ipv6);
        let query = query(NGINX, qtype);
        let opt = |size| with_opt(query.clone(), size, 0, &[]);
        for (query, records, limit) in [
            (query.clone(), plain, 512),
            (opt(0), small, 512),
            (opt(512), small, 512),
            (opt(1232), usual, 1232),
            (opt(4096), large, 4096),
        ] {
            let (got, truncated, len) = size(&index, &query, Transport::Udp);
            assert_eq!((got, truncated), (records, true), "{limit}");
            assert!(len <= limit);
        }
        let (got, truncated, _) = size(&index, &query, Transport::Tcp);
        assert_eq!((got, truncated), (300, false));
        // What just fits is not truncated.
        let exact = nginx(plain, ipv6);
        assert!(!size(&exact, &query, Transport::Udp).1);
        let over = nginx(plain + 1, ipv6);
        assert!(size(&over, &query, Transport::Udp).1);
    }
}

#[test]
fn servers_and_their_glue_that_fit() {
    let query = query(NGINX, 33);
    let usual = with_opt(query.clone(), 1232, 0, &[]);
    for (query, fit) in [(&query, 5), (&usual, 14)] {
        let (records, truncated, _) = size(&nginx(fit, false), query, Transport::Udp);
        assert_eq!((records, truncated), (fit * 2, false));
        // Lost glue alone sets TC.
        let (records, truncated, _) = size(&nginx(fit + 1, false), query, Transport::Udp);
        assert!(truncated && records > fit + 1);
    }
}

#[test]
fn targets_of_servers_are_not_compressed() {
    let index = nginx(1, false);
    let reply = sent(&index, &query(NGINX, 33), Transport::Udp);
    let target = wire(&format!("web-0.{NGINX}"));
    let found = reply
        .windows(target.len())
        .position(|bytes| bytes == target);
    let at = found.unwrap_or_else(|| panic!("{}", reply.escape_ascii()));
    // The glue's owner points at it.
    let pointer = (0xc000 | at as u16).to_be_bytes();
    assert_eq!(reply[at + target.len()..][..2], pointer);
}

#[test]
fn names_of_another_case_are_not_pointed_at() {
    let index = nginx(1, false);
    let asked = "NGINX-headless.default.svc.CLUSTER.local";
    let reply = sent(&index, &query(asked, 33), Transport::Udp);
    let target = wire("web-0.nginx-headless.default.svc.CLUSTER.local");
    assert!(reply.windows(target.len()).any(|bytes| bytes == target));
    let message = read(&reply);
    let glue = Name::from_ascii("web-0.nginx-headless.default.svc.CLUSTER.local.").unwrap();
    assert!(message.additionals[0].name.eq_case(&glue));
}

#[test]
fn opt_is_echoed() {
    let index = nginx(3, false);
    assert!(udp(&index, &query(NGINX, 1)).edns.is_none());
    // DO and the bits beside it come back, the upper rcode and the rest do not.
    let query = with_opt(query(NGINX, 1), 333, 0xff00_9aff, &[]);
    let reply = sent(&index, &query, Transport::Udp);
    let opt = [0, 0, 41, 1, 77, 0, 0, 0x9a, 0, 0, 0];
    assert_eq!(reply[reply.len() - opt.len()..], opt);
    assert_eq!(
        read(&reply).edns.unwrap().max_payload(),
        512,
        "hickory's lower bound"
    );
}

#[test]
fn some_options_are_echoed() {
    let options = [
        (3, b"".as_slice()),
        (8, b"\0\x01\x18\0\x0a\0\0"),
        (9, b""),
        (9, b"\0\0\0\x05\x06"),
        (10, b"12345678"),
        (11, b"\0\x05"),
        (11, b"\0\0"),
        (12, b"\0\0\0"),
        (15, b"\0\x01"),
        (65_001, b"x"),
    ];
    let encode = |options: &[(u16, &[u8])]| {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(code.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(*value);
        }
        bytes
    };
    let echoed = [
        (3, b"".as_slice()),
        (9, b""),
        (9, b"\0\0\0\x05"),
        (10, b"12345678"),
        (11, b"\0\x05"),
        (11, b""),
        (12, b"\0\0\0"),
    ];
    let index = nginx(3, false);
    let query = with_opt(query(NGINX, 1), 1232, 0, &encode(&options));
    let reply = sent(&index, &query, Transport::Udp);
    let expected = encode(&echoed);
    assert_eq!(reply[reply.len() - expected.len()..], expected);
    let edns = read(&reply).edns.unwrap();
    assert!(edns.option(EdnsCode::Cookie).is_some());
    assert!(edns.option(EdnsCode::Subnet).is_none());

    let index = nginx(300, false);
    let (_, truncated, len) = size(&index, &query, Transport::Udp);
    assert!(truncated && len <= 1232, "options count: {len}");
}

#[test]
fn another_edns_version() {
    let index = nginx(3, false);
    let query = with_opt(query(NGINX, 1), 1232, 1 << 16 | 0x8000, b"");
    let reply = sent(&index, &query, Transport::Udp);
    assert_eq!(reply[2..4], [0b1000_0001, 0], "QR RD, not AA");
    assert_eq!(
        reply[reply.len() - 11..],
        [0, 0, 41, 0, 0, 1, 0, 0, 0, 0, 0]
    );
    // Code 16 is BADVERS here, and BADSIG in a TSIG record.
    assert_eq!(u16::from(read(&reply).metadata.response_code), 16);
}

#[test]
fn what_is_no_query_is_ignored() {
    let index = nginx(3, false);
    let mut response = query(NGINX, 1);
    response[2] |= 0x80;
    for bytes in [b"".as_slice(), &query(NGINX, 1)[..11], &response] {
        let got = reply(&index, bytes, Transport::Udp, &mut Rng::with_seed(1));
        assert!(matches!(got, Reply::Ignore), "{got:?}");
    }
}

#[test]
fn malformed_queries() {
    const REFUSED_OPCODE: [u8; 2] = [0b1001_0001, 4];
    const FORMERR: [u8; 2] = [0b1000_0001, 1];
    const SERVFAIL: [u8; 2] = [0b1000_0001, 2];
    let index = nginx(3, false);
    let good = query(NGINX, 1);
    let set = |at: usize, value: u8| {
        let mut query = good.clone();
        query[at] = value;
        query
    };
    let mut pointer = good[..12].to_vec();
    pointer.extend([0xc0, 12, 0, 1, 0, 1]);
    let long = query(&vec!["a"; 128].join("."), 1);
    let cut = |len: usize| good[..good.len() - len].to_vec();
    let header = good[..12].to_vec();
    for (query, flags, why) in [
        (set(2, 0b0001_0001), REFUSED_OPCODE, "opcode STATUS"),
        (set(5, 0), FORMERR, "no question"),
        (set(5, 2), FORMERR, "two questions"),
        (set(7, 2), FORMERR, "two answers"),
        (set(9, 2), FORMERR, "two authorities"),
        (set(11, 3), FORMERR, "three additionals"),
        (set(12, 0x40), FORMERR, "a label type"),
        (pointer, FORMERR, "a pointer to itself"),
        (long, FORMERR, "a name of 257 bytes"),
        (cut(10), FORMERR, "a name cut off"),
        (cut(3), FORMERR, "a type cut off"),
        (header, SERVFAIL, "only a header"),
    ] {
        let reply = sent(&index, &query, Transport::Udp);
        let expected = [&[0x12, 0x34], flags.as_slice(), &[0; 8]].concat();
        assert_eq!(reply, expected, "{why}");
    }
    // Where only a record is malformed, the question comes back.
    for query in [
        with_opt(good.clone(), 1232, 0, &[0, 11, 0, 1, 9]),
        with_opt(good.clone(), 1232, 0, &[0, 8, 0, 3, 0, 1, 24]),
        with_opt(good.clone(), 1232, 0, &[0, 3]),
        [&set(11, 1)[..], &[0, 0, 41]].concat(),
    ] {
        let reply = sent(&index, &query, Transport::Udp);
        assert_eq!(reply[2..4], FORMERR);
        assert_eq!(reply[12..], good[12..]);
    }
}

#[test]
fn what_is_unusual_and_accepted() {
    let index = nginx(3, false);
    let good = query(NGINX, 1);
    let set = |at: usize, value: u8| {
        let mut query = good.clone();
        query[at] = value;
        query
    };
    let trailing = [&good[..], b"more"].concat();
    let chaos = set(good.len() - 1, 3);
    let no_class = good[..good.len() - 2].to_vec();
    for (query, why) in [
        (trailing, "bytes after the message"),
        (chaos.clone(), "class CH"),
        (no_class, "no class at all"),
        (set(11, 1), "a count without a record"),
    ] {
        assert_eq!(udp(&index, &query).answers.len(), 3, "{why}");
    }
    let reply = sent(&index, &chaos, Transport::Udp);
    assert_eq!(reply[12..good.len()], chaos[12..], "the class as it came");
    // NOTIFY is answered like a query, without RD.
    let reply = sent(&index, &set(2, 0b0010_0001), Transport::Udp);
    assert_eq!(reply[2], 0b1010_0100);
    let message = read(&reply);
    assert_eq!(
        (message.metadata.op_code, message.answers.len()),
        (OpCode::Notify, 3)
    );
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
fn names_of_others_are_handed_on() {
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
    let target = ask().chase().unwrap().target.clone();
    assert_eq!(target.to_ascii(), "db.example.com.");
    let address = RData::A("192.0.2.1".parse().unwrap());
    let text = RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["odd".to_owned()]));
    let found = [address, text].map(|data| Record::from_rdata(target.clone(), 9, data));
    let bytes = ask().finish(&index, Some(found.to_vec()), &mut Rng::with_seed(1));
    let answers: Vec<_> = read(&bytes)
        .answers
        .iter()
        .map(Record::record_type)
        .collect();
    assert_eq!(answers, [RecordType::CNAME, RecordType::TXT, RecordType::A]);
    let message = read(&ask().finish(&index, None, &mut Rng::with_seed(1)));
    assert_eq!((message.answers.len(), message.authorities.len()), (0, 1));
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
}

proptest! {
    /// Whatever comes in, what goes out is a message or nothing.
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
