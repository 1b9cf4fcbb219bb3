//! The details of a Service: its ports and SRV targets, the content of chunks of the kinds
//! [`super::ChunkKind::Own`] and [`super::ChunkKind::Endpoints`].
//!
//! The first chunk begins with [`DetailsHeader`]. The ports follow, in the order of their
//! numbers, all in the first chunk. A port has these bytes:
//!
//! | Bytes | Content |
//! | --- | --- |
//! | 1 | length of the name, at most [`PORT_NAME_MAX`] |
//! | 1 | protocol: [`PORT_TCP`], [`PORT_UDP`], [`PORT_SCTP`] or [`PORT_UNDECLARED`] |
//! | 2 | number in network byte order, 0 where the port has none |
//! | 2 | number of endpoints that have the port |
//! | .. | name |
//!
//! Endpoints without declared ports have one port without a name, of the protocol
//! [`PORT_UNDECLARED`], as in CoreDNS.
//!
//! The targets follow the ports, and go on in further chunks. No target is in two chunks. A target
//! has these bytes:
//!
//! | Bytes | Content |
//! | --- | --- |
//! | 2 | a bit for each port of the target, the lowest bit for the first port |
//! | 1 | number of IPv4 addresses in the lower half, of IPv6 addresses in the upper half |
//! | 1 | length of the label, with the bits [`TARGET_CONTINUES`] and [`TARGET_LABELS`] |
//! | .. | label |
//! | .. | IPv4 addresses, then IPv6 addresses, in network byte order |
//!
//! - A target without a label is the Service itself.
//! - With [`TARGET_CONTINUES`], the label is the label of the target before, for other ports or
//!   addresses.
//! - With [`TARGET_LABELS`], the label consists of several labels in wire form. With
//!   [`TARGET_LABELS`] and length 0, the label is the dashed form of the target's only IPv4
//!   address.
//! - A target has at least one address. So two counts of zero end the targets of a chunk, as the
//!   chunk's end does.
//!
//! With [`DetailsHeader::IMPLICIT`], the details have one chunk and no targets. The targets are
//! then the IPv4 addresses of the Service's name record in their order, each with all ports and
//! with the dashed form of the address as its label.

use bytemuck::{Pod, Zeroable};

use super::{
    chunk::CHUNK_BYTES,
    digest::{describe, digest_of},
};

/// The start of the first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DetailsHeader {
    /// Number of endpoints, or addresses, as CoreDNS counts them for the weight of SRV records: an
    /// endpoint in two slices counts twice. At most 65,535.
    pub endpoints: u16,
    /// Number of targets.
    pub targets: u16,
    /// Number of chunks.
    pub chunks: u16,
    /// Bytes of all ports.
    pub ports_len: u8,
    /// Bits: [`Self::IMPLICIT`], [`Self::SEVERAL`].
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

/// Bytes of the longest name of a port (RFC 6335, section 5.1). A port of an EndpointSlice may
/// have a longer name. Userspace then answers for the Service's ports.
pub const PORT_NAME_MAX: usize = 15;

/// Most ports of a Service, the number of bits in a target. Where a Service has more, userspace
/// answers for its ports.
pub const PORTS_MAX: usize = 16;

const _: () = assert!(PORTS_MAX * PORT_HEADER_LEN <= CHUNK_BYTES - DETAILS_HEADER_LEN);

/// Protocol of the port of endpoints without declared ports.
pub const PORT_UNDECLARED: u8 = 0;

/// Protocol TCP of a port.
pub const PORT_TCP: u8 = 1;
/// Protocol UDP of a port.
pub const PORT_UDP: u8 = 2;
/// Protocol SCTP of a port.
pub const PORT_SCTP: u8 = 3;

/// Bytes of a target before its label.
pub const TARGET_HEADER_LEN: usize = 4;

/// Bit in the byte with the label's length: the label is the label of the target before.
pub const TARGET_CONTINUES: u8 = 1 << 7;

/// Bit in the byte with the label's length: the label consists of several labels in wire form.
/// With length 0, the label is the dashed form of the target's IPv4 address.
pub const TARGET_LABELS: u8 = 1 << 6;

/// Most addresses of a family in a target.
pub const TARGET_ADDRESSES_MAX: usize = 15;

/// Digest of all numbers of this module.
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
    SEVERAL = DetailsHeader::SEVERAL,
};

impl DetailsHeader {
    /// Bit in [`Self::flags`]: the targets are the IPv4 addresses of the Service's name record.
    pub const IMPLICIT: u8 = 1;
    /// Bit in [`Self::flags`]: a target has more than one address, such as a pod with an address
    /// of each family.
    pub const SEVERAL: u8 = 1 << 1;

    /// Reads the header from the first word of a chunk.
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

    /// The header as the first word of a chunk.
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
