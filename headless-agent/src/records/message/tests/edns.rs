//! OPT records and their options.

use super::*;

#[test]
fn opt_is_echoed() {
    let index = nginx(3, false);
    assert!(udp(&index, &query(NGINX, 1)).edns.is_none());
    // The byte of DO comes back. The upper RCODE, the version and the other flags do not.
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
