//! Makes query frames. Every field can be set. Fields that are not set get correct values.

use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::wire::dns::flags::RD;
use headless_ebpf::wire::dns::qtype::OPT;

/// The destination of IPv4 frames, a served address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The source of IPv4 frames.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);

/// The destination of IPv6 frames, a served address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa);

/// The source of IPv6 frames.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0xa);

/// Number of bytes before the DNS message in an IPv4 frame without options.
pub const HEADERS_LEN: usize = 42;

/// Number of bytes before the DNS message in an IPv6 frame without extension headers.
pub const HEADERS_LEN_V6: usize = 62;

/// The frame with a VLAN tag; `id` is the VLAN identifier (IEEE 802.1Q).
pub fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let mut tagged = frame.to_vec();
    let [high, low] = id.to_be_bytes();
    tagged.splice(12..12, [0x81, 0, high, low]);
    tagged
}

/// The frame without its VLAN tag; `None` if it has no tag.
pub fn untagged(frame: &[u8]) -> Option<Vec<u8>> {
    (frame.get(12..14)? == [0x81, 0] && frame.len() > 18).then(|| {
        let mut frame = frame.to_vec();
        frame.drain(12..16);
        frame
    })
}

/// Question types (IANA "DNS Resource Record TYPEs").
pub mod qtype {
    /// A: IPv4 address.
    pub const A: u16 = 1;
    /// NS: name server.
    pub const NS: u16 = 2;
    /// TXT: text.
    pub const TXT: u16 = 16;
    /// AAAA: IPv6 address.
    pub const AAAA: u16 = 28;
    /// SRV: service location.
    pub const SRV: u16 = 33;
}

/// An OPT record (RFC 6891, section 6.1.2).
#[derive(Clone, Debug, Default)]
pub struct Opt {
    /// UDP payload size in bytes.
    pub size: u16,
    /// The upper eight bits of the RCODE.
    pub rcode: u8,
    /// EDNS version.
    pub version: u8,
    /// The DO bit and reserved bits.
    pub flags: u16,
    /// Options in wire form.
    pub options: Vec<u8>,
}

impl Opt {
    /// An OPT record without options, for replies of up to `size` bytes.
    pub fn size(size: u16) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }
}

/// A DNS query (RFC 1035, section 4.1).
#[derive(Clone, Debug)]
pub struct Query {
    /// Transaction id.
    pub id: u16,
    /// The header's second word: flags, opcode and RCODE.
    pub flags: u16,
    /// QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT. With `None` they count the question, and the
    /// OPT record if there is one.
    pub counts: Option<[u16; 4]>,
    /// The name in wire form, root included.
    pub name: Vec<u8>,
    /// Question type.
    pub qtype: u16,
    /// Question class.
    pub qclass: u16,
    /// OPT record.
    pub opt: Option<Opt>,
    /// Bytes behind the question and the OPT record.
    pub trailing: Vec<u8>,
}

/// The wire form, with the root, of a name whose labels are separated by dots.
pub fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).expect("a label of at most 255 bytes"));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

impl Query {
    /// A stub resolver's query for a name whose labels are separated by dots: RD is set.
    pub fn new(name: &str, qtype: u16) -> Self {
        Self::of_wire(wire(name), qtype)
    }

    /// Like [`Self::new`], for a name in wire form.
    pub fn of_wire(name: Vec<u8>, qtype: u16) -> Self {
        Self {
            id: 0x1267,
            flags: RD,
            counts: None,
            name,
            qtype,
            qclass: 1,
            opt: None,
            trailing: Vec::new(),
        }
    }

    /// The query with an OPT record without options, for replies of up to `size` bytes.
    #[must_use]
    pub fn edns(mut self, size: u16) -> Self {
        self.opt = Some(Opt::size(size));
        self
    }

    /// The DNS message.
    pub fn message(&self) -> Vec<u8> {
        let Self {
            id,
            flags,
            counts,
            name,
            qtype,
            qclass,
            opt,
            trailing,
        } = self;
        let mut message = Vec::new();
        let counts = counts.unwrap_or([1, 0, 0, u16::from(opt.is_some())]);
        for word in [*id, *flags].into_iter().chain(counts) {
            message.extend(word.to_be_bytes());
        }
        message.extend(name);
        message.extend(qtype.to_be_bytes());
        message.extend(qclass.to_be_bytes());
        if let Some(opt) = opt {
            message.push(0);
            message.extend(OPT.to_be_bytes());
            message.extend(opt.size.to_be_bytes());
            message.extend([opt.rcode, opt.version]);
            message.extend(opt.flags.to_be_bytes());
            let len = u16::try_from(opt.options.len()).expect("options of a message");
            message.extend(len.to_be_bytes());
            message.extend(&opt.options);
        }
        message.extend(trailing);
        message
    }

    /// The DNS message in an IPv4 frame with correct headers.
    pub fn frame(&self) -> Vec<u8> {
        Envelope::default().wrap(&self.message())
    }

    /// The DNS message in an IPv6 frame with correct headers.
    pub fn frame_v6(&self) -> Vec<u8> {
        EnvelopeV6::default().wrap(&self.message())
    }
}

/// Ethernet, IPv4 and UDP headers of a frame.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The Ethernet header's type.
    pub ethertype: u16,
    /// Options of the IPv4 header. The length must be a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// The IPv4 header's flags and fragment offset.
    pub fragment: u16,
    /// The IPv4 header's protocol.
    pub protocol: u8,
    /// Destination address.
    pub server: Ipv4Addr,
    /// Destination port.
    pub port: u16,
    /// Difference between the IPv4 header's checksum and the correct one.
    pub checksum_error: u16,
    /// Difference between the IPv4 header's total length and the correct one.
    pub ip_len_error: i16,
    /// Difference between the UDP header's length and the correct one.
    pub udp_len_error: i16,
    /// Number of bytes behind the packet.
    pub padding: usize,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            ethertype: 0x0800,
            ip_options: Vec::new(),
            fragment: 0x4000,
            protocol: 17,
            server: SERVER,
            port: 53,
            checksum_error: 0,
            ip_len_error: 0,
            udp_len_error: 0,
            padding: 0,
        }
    }
}

impl Envelope {
    /// The frame with a DNS message behind these headers.
    pub fn wrap(&self, message: &[u8]) -> Vec<u8> {
        let len = |bytes: usize, error: i16| {
            let bytes = u16::try_from(bytes).expect("a packet of at most 65535 bytes");
            bytes.wrapping_add_signed(error).to_be_bytes()
        };
        let udp = udp(message, self.port, self.udp_len_error);
        let header_len = 20 + self.ip_options.len();
        let words = u8::try_from(header_len / 4).expect("an IPv4 header");
        let mut ip = vec![0x40 | words, 0];
        ip.extend(len(header_len + udp.len(), self.ip_len_error));
        ip.extend([0x12, 0x34]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([64, self.protocol, 0, 0]);
        ip.extend(CLIENT.octets());
        ip.extend(self.server.octets());
        ip.extend(&self.ip_options);
        let checksum = checksum(&ip).wrapping_add(self.checksum_error);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());

        let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(ip);
        frame.extend(udp);
        frame.extend(std::iter::repeat_n(0xaa, self.padding));
        frame
    }
}

/// Ethernet, IPv6 and UDP headers of a frame.
#[derive(Clone, Debug)]
pub struct EnvelopeV6 {
    /// The IPv6 header's first word: version, traffic class and flow label.
    pub version: u32,
    /// The IPv6 header's next header.
    pub next_header: u8,
    /// Extension headers, between the IPv6 and the UDP header.
    pub extensions: Vec<u8>,
    /// Destination address.
    pub server: Ipv6Addr,
    /// Destination port.
    pub port: u16,
    /// Difference between the IPv6 header's payload length and the correct one.
    pub payload_len_error: i16,
    /// Difference between the UDP header's length and the correct one.
    pub udp_len_error: i16,
    /// Number of bytes behind the packet.
    pub padding: usize,
}

impl Default for EnvelopeV6 {
    fn default() -> Self {
        Self {
            version: 0x6002_1234,
            next_header: 17,
            extensions: Vec::new(),
            server: SERVER_V6,
            port: 53,
            payload_len_error: 0,
            udp_len_error: 0,
            padding: 0,
        }
    }
}

impl EnvelopeV6 {
    /// The frame with a DNS message behind these headers.
    pub fn wrap(&self, message: &[u8]) -> Vec<u8> {
        let udp = udp(message, self.port, self.udp_len_error);
        let payload_len = (self.extensions.len() + udp.len()) as u16;
        let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x86, 0xdd];
        frame.extend(self.version.to_be_bytes());
        frame.extend(
            payload_len
                .wrapping_add_signed(self.payload_len_error)
                .to_be_bytes(),
        );
        frame.extend([self.next_header, 64]);
        frame.extend(CLIENT_V6.octets());
        frame.extend(self.server.octets());
        frame.extend(&self.extensions);
        frame.extend(udp);
        frame.extend(std::iter::repeat_n(0xaa, self.padding));
        frame
    }
}

/// A UDP datagram from port 40000. Its checksum is a fixed wrong value: a pod with checksum
/// offload leaves the checksum unfinished, so the engine must not verify it.
fn udp(message: &[u8], port: u16, len_error: i16) -> Vec<u8> {
    let len = u16::try_from(8 + message.len()).expect("a packet of at most 65535 bytes");
    let mut udp = Vec::new();
    udp.extend(40_000_u16.to_be_bytes());
    udp.extend(port.to_be_bytes());
    udp.extend(len.wrapping_add_signed(len_error).to_be_bytes());
    udp.extend([0xbe, 0xef]);
    udp.extend(message);
    udp
}

/// The internet checksum (RFC 1071) of a header. If the header's own checksum field is
/// zero, the result is the value for that field. If the field is correct, the result is 0.
pub fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| {
        let [high, low] = [pair[0], pair.get(1).copied().unwrap_or_default()];
        u64::from(u16::from_be_bytes([high, low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
