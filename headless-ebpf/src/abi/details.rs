//! What a Service's SRV records are made of, beyond its
//! addresses.
//!
//! A Service has up to two of these, as chunks of kind
//! [`super::ChunkKind::Own`] and [`super::ChunkKind::Endpoints`]. The first
//! chunk begins with [`DetailsHeader`], then come
//!
//! 1. the ports, in the order of their numbers: one byte length of the name,
//!    one byte [`PORT_TCP`] and the like, two bytes number in network byte order
//!    (0 where there is none), two bytes for how many endpoints have it, the name.
//!    Endpoints for which no port is declared have one without a name, of
//!    [`PORT_UNDECLARED`], as CoreDNS has it;
//! 2. targets, in the first chunk and all others: two bytes with a bit for each
//!    port that the target has, the first port's lowest; one byte with the number of
//!    IPv4 addresses in the lower and of IPv6 addresses in the upper half; one byte
//!    length of the label, with [`TARGET_CONTINUES`] where it is the label before
//!    once more, with other ports or addresses, and [`TARGET_LABELS`] where it is
//!    several labels in wire form or, without a length, the one IPv4 address with
//!    dashes; the label; the addresses in network byte order.
//!    Without a label the target is the Service itself. A target has at least one
//!    address, so that a number of zero, or the chunk's end, is the end.
//!
//! A target is never in two chunks.
//!
//! With [`DetailsHeader::IMPLICIT`] there are no targets here, and one chunk: the
//! targets are the IPv4 addresses of the Service's own record, in its order, each under
//! the dashed label of its address and each with all ports.

use bytemuck::{Pod, Zeroable};

use super::{
    chunk::CHUNK_BYTES,
    digest::{describe, digest_of},
};

/// How the first chunk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DetailsHeader {
    /// How many endpoints, or addresses, there are as CoreDNS counts them for the
    /// weight of SRV records: one in two slices counts twice. At most 65,535.
    pub endpoints: u16,
    /// How many targets there are.
    pub targets: u16,
    /// How many chunks there are.
    pub chunks: u16,
    /// Bytes of the ports.
    pub ports_len: u8,
    /// Bits: [`Self::IMPLICIT`].
    pub flags: u8,
}

describe!(DetailsHeader {
    endpoints: u16,
    targets: u16,
    chunks: u16,
    ports_len: u8,
    flags: u8,
});

/// Bytes of the header.
pub const DETAILS_HEADER_LEN: usize = size_of::<DetailsHeader>();

const _: () = assert!(DETAILS_HEADER_LEN == 8);

/// Bytes of a port before its name.
pub const PORT_HEADER_LEN: usize = 6;

/// Longest name of a port (IANA service names, RFC 6335, section 5.1). One of an
/// EndpointSlice may be longer, and is left to userspace.
pub const PORT_NAME_MAX: usize = 15;

/// Most ports: as many as a target has bits for. More are left to userspace.
pub const PORTS_MAX: usize = 16;

const _: () = assert!(PORTS_MAX * PORT_HEADER_LEN <= CHUNK_BYTES - DETAILS_HEADER_LEN);

/// Protocol of a port that is not declared.
pub const PORT_UNDECLARED: u8 = 0;

/// Protocol of a port.
pub const PORT_TCP: u8 = 1;
/// Protocol of a port.
pub const PORT_UDP: u8 = 2;
/// Protocol of a port.
pub const PORT_SCTP: u8 = 3;

/// Bytes of a target before its label.
pub const TARGET_HEADER_LEN: usize = 4;

/// In the byte of the label's length: the label is the one before once more.
pub const TARGET_CONTINUES: u8 = 1 << 7;

/// In the byte of the label's length: several labels in wire form or, without a length,
/// the dashed form of the target's IPv4 address.
pub const TARGET_LABELS: u8 = 1 << 6;

/// Most addresses of a family that a target has.
pub const TARGET_ADDRESSES_MAX: usize = 15;

/// Digest of the numbers.
pub(super) const DETAILS_DIGEST: u64 = digest_of! {
    PORT_HEADER_LEN = PORT_HEADER_LEN,
    PORT_NAME_MAX = PORT_NAME_MAX,
    PORTS_MAX = PORTS_MAX,
    PORT_UNDECLARED = PORT_UNDECLARED,
    PORT_TCP = PORT_TCP,
    PORT_UDP = PORT_UDP,
    PORT_SCTP = PORT_SCTP,
    TARGET_HEADER_LEN = TARGET_HEADER_LEN,
    TARGET_CONTINUES = TARGET_CONTINUES,
    TARGET_LABELS = TARGET_LABELS,
    TARGET_ADDRESSES_MAX = TARGET_ADDRESSES_MAX,
    IMPLICIT = DetailsHeader::IMPLICIT,
};

impl DetailsHeader {
    /// In [`Self::flags`]: the targets are the IPv4 addresses of the Service's record.
    pub const IMPLICIT: u8 = 1;

    /// The header in the first word of a chunk.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            endpoints: word as u16,
            targets: (word >> 16) as u16,
            chunks: (word >> 32) as u16,
            ports_len: (word >> 48) as u8,
            flags: (word >> 56) as u8,
        }
    }

    /// The first word of a chunk.
    pub const fn word(self) -> u64 {
        self.endpoints as u64
            | (self.targets as u64) << 16
            | (self.chunks as u64) << 32
            | (self.ports_len as u64) << 48
            | (self.flags as u64) << 56
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_the_first_word() {
        let header = DetailsHeader {
            endpoints: 0x0102,
            targets: 0x0304,
            chunks: 0x0506,
            ports_len: 7,
            flags: 8,
        };
        assert_eq!(DetailsHeader::from_word(header.word()), header);
        assert_eq!(bytemuck::cast::<_, u64>(header), header.word().to_le());
    }
}
