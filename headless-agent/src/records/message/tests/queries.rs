//! Messages that are no plain queries.

use super::*;

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
    // The question comes back where only a record behind it is malformed.
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
    let mut settings = settings();
    settings.any_class = false;
    let strict = crate::records::fixtures::index(settings, vec![namespace("default")]);
    for (query, is_refused) in [(&chaos, true), (&good, false)] {
        let found = super::reply(&strict, query, Transport::Udp, &mut Rng::with_seed(1));
        let is_forward = matches!(
            &found,
            Reply::Forward(forwarded) if forwarded.to == Forward::ClusterDns
        );
        assert_eq!(is_forward, is_refused, "{found:?}");
    }
    // NOTIFY is answered like a query, without RD.
    let reply = sent(&index, &set(2, 0b0010_0001), Transport::Udp);
    assert_eq!(reply[2], 0b1010_0100);
    let message = read(&reply);
    assert_eq!(
        (message.metadata.op_code, message.answers.len()),
        (OpCode::Notify, 3)
    );
}
