//! The size of replies, and the records that fit into it.

use super::*;

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
        // A reply of just the limit is not truncated.
        let exact = nginx(plain, ipv6);
        assert!(!size(&exact, &query, Transport::Udp).1);
        let over = nginx(plain + 1, ipv6);
        assert!(size(&over, &query, Transport::Udp).1);
    }
}

#[test]
fn srv_records_and_addresses_that_fit() {
    let query = query(NGINX, 33);
    let usual = with_opt(query.clone(), 1232, 0, &[]);
    for (query, fit) in [(&query, 5), (&usual, 14)] {
        let (records, truncated, _) = size(&nginx(fit, false), query, Transport::Udp);
        assert_eq!((records, truncated), (fit * 2, false));
        // A missing address of a target alone sets TC.
        let (records, truncated, _) = size(&nginx(fit + 1, false), query, Transport::Udp);
        assert!(truncated && records > fit + 1);
    }
}
