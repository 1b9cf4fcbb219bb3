//! The shapes in which clients ask: header bits and EDNS.

use headless_ebpf::wire::dns::OPT_DO;
use headless_ebpf::wire::dns::flags::{AD, CD, RD};
use headless_tests::differential::message::{Opt, Query};

/// A client's part of a COOKIE option (RFC 7873, section 4).
const COOKIE: &[u8] = b"\0\x0a\0\x08\x91\x02\x83\x04\x75\x06\xf7\x08";

/// Options by which a validating resolver names its algorithms (RFC 6975): DAU, DHU and N3U, as
/// systemd-resolved sends them.
const ALGORITHMS: &[u8] = b"\0\x05\0\x08\x05\x07\x08\x0a\x0d\x0e\x0f\x10\
    \0\x06\0\x03\x01\x02\x04\0\x07\0\x01\x01";

/// An option ECS with an IPv4 prefix of 24 bits (RFC 7871).
const SUBNET: &[u8] = b"\0\x08\0\x07\0\x01\x18\0\x0a\xf4\0";

/// A shape of queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The shape in few words.
    pub(crate) name: &'static str,
    /// Clients that ask so.
    pub(crate) clients: &'static str,
    /// Header bits.
    flags: u16,
    /// Payload size, flags and options of the OPT record.
    opt: Option<(u16, u16, &'static [u8])>,
    /// Whether the case of letters is random.
    random_case: bool,
}

const fn shape(
    name: &'static str,
    clients: &'static str,
    flags: u16,
    opt: Option<(u16, u16, &'static [u8])>,
) -> Shape {
    Shape {
        name,
        clients,
        flags,
        opt,
        random_case: false,
    }
}

/// Every shape.
pub(crate) const ALL: [Shape; 13] = [
    shape("no EDNS", "glibc, musl, busybox, Node, Java", RD, None),
    shape("no EDNS, AD", "glibc trust-ad", RD | AD, None),
    Shape {
        random_case: true,
        ..shape("no EDNS, random case", "evdns", RD, None)
    },
    shape("EDNS 512", "HAProxy", RD, Some((512, 0, b""))),
    shape("EDNS 1200", "glibc edns0", RD, Some((1200, 0, b""))),
    shape(
        "EDNS 1232",
        "Go, kdig, c-ares later on",
        RD,
        Some((1232, 0, b"")),
    ),
    shape("EDNS 1280", "dnsjava", RD, Some((1280, 0, b""))),
    shape("EDNS 4096", "Netty, miekg/dns", RD, Some((4096, 0, b""))),
    shape(
        "EDNS 1232, DO, CD",
        "validators",
        RD | CD,
        Some((1232, OPT_DO, b"")),
    ),
    shape(
        "EDNS 1232, cookie",
        "dig, c-ares, Envoy, curl",
        RD | AD,
        Some((1232, 0, COOKIE)),
    ),
    shape(
        "EDNS 1232, DO, cookie",
        "BIND forwarding",
        RD,
        Some((1232, OPT_DO, COOKIE)),
    ),
    shape(
        "EDNS 1472, DO, CD, DAU",
        "systemd-resolved",
        RD | CD,
        Some((1472, OPT_DO, ALGORITHMS)),
    ),
    shape(
        "EDNS 1232, ECS",
        "unbound, dnsmasq",
        RD,
        Some((1232, 0, SUBNET)),
    ),
];

impl Shape {
    /// Gives a query this shape. Name, type and id stay.
    pub(crate) fn dress(&self, query: &mut Query) {
        query.flags = self.flags;
        query.qclass = 1;
        if !self.random_case {
            query.name = query.name.folded();
        }
        query.opt = self.opt.map(|(size, flags, options)| Opt {
            size,
            ttl: flags.into(),
            options: options.to_vec(),
        });
    }
}
