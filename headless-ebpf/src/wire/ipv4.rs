//! Ethernet, IPv4 and UDP: from bytes to offsets, and back into a reply.

use super::{DNS_HEADER_LEN, FRAME_MAX, Image};
use crate::abi::{PassReason, ServerAddress};

/// Bytes before the DNS message: Ethernet (14), IPv4 without options (20, RFC
/// 791, section 3.1) and UDP (8, RFC 768).
pub const IPV4_HEADERS_LEN: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

const PROTOCOL_UDP: u8 = 17;
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();
const ETHERTYPE_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
/// Version 4, five words of header.
const VERSION_IHL: u8 = 0x45;
/// More-fragments and the fragment offset; the don't-fragment bit may be set.
const FRAGMENT: u16 = 0x3fff;

/// Where things are in a frame that may be a query to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The address that was asked.
    pub server: ServerAddress,
    /// Bytes from the Ethernet header to the end of the UDP payload, that is
    /// without the frame's padding.
    pub end: usize,
}

impl Headers {
    /// Offset of the DNS message.
    pub const MESSAGE: usize = IPV4_HEADERS_LEN;

    /// Reads the headers of a frame of `frame_len` bytes whose first 42 bytes
    /// are `head`.
    ///
    /// The first four comparisons let all other traffic go; nothing is read
    /// twice and nothing beyond the 42 bytes.
    #[inline(always)]
    pub fn parse(head: &[u8; IPV4_HEADERS_LEN], frame_len: usize) -> Result<Self, PassReason> {
        if [head[12], head[13]] != ETHERTYPE_IPV4 || head[23] != PROTOCOL_UDP {
            return Err(PassReason::NotDns);
        }
        let fragment = u16::from_be_bytes([head[20], head[21]]) & FRAGMENT;
        if head[14] != VERSION_IHL || fragment != 0 {
            return Err(PassReason::IpHeader);
        }
        if [head[36], head[37]] != DNS_PORT {
            return Err(PassReason::NotDns);
        }
        let ip_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
        let udp_len = usize::from(u16::from_be_bytes([head[38], head[39]]));
        let end = ETHERNET_LEN + ip_len;
        if udp_len < UDP_LEN + DNS_HEADER_LEN || ip_len != IPV4_LEN + udp_len || end > frame_len {
            return Err(PassReason::Length);
        }
        if end > FRAME_MAX {
            return Err(PassReason::TooLong);
        }
        let destination = u32::from_ne_bytes([head[30], head[31], head[32], head[33]]);
        Ok(Self {
            server: ServerAddress::from_ipv4_word(destination),
            end,
        })
    }

    /// Whether the IPv4 header in `image` carries the checksum that it should
    /// (RFC 791, section 3.1): the sum over all of it is then all ones.
    #[inline(always)]
    pub fn checksum_holds(image: &Image) -> bool {
        sum(image) == 0xffff
    }

    /// Turns the headers in `image` into those of a reply with a DNS message of
    /// `message_len` bytes.
    ///
    /// The UDP checksum is left out (zero, RFC 768): XDP cannot tell a complete
    /// checksum from one that the sender's device was to complete. Don't
    /// fragment, and identification zero, which RFC 6864, section 4.1, allows
    /// to what is never fragmented.
    #[inline(always)]
    pub fn reply(image: &mut Image, message_len: usize) {
        let (destination4, destination2) = (image.u32_at(0), image.u16_at(4));
        let (source4, source2) = (image.u32_at(6), image.u16_at(10));
        image.put_u32(0, source4);
        image.put_u16(4, source2);
        image.put_u32(6, destination4);
        image.put_u16(10, destination2);

        let ip = ETHERNET_LEN;
        let udp_len = UDP_LEN + message_len;
        let (source, destination) = (image.u32_at(ip + 12), image.u32_at(ip + 16));
        image.put_be16(ip, u16::from(VERSION_IHL) << 8);
        image.put_be16(ip + 2, (IPV4_LEN + udp_len) as u16);
        image.put_be32(ip + 4, 0x0000_4000);
        image.put_be32(ip + 8, u32::from_be_bytes([64, PROTOCOL_UDP, 0, 0]));
        image.put_u32(ip + 12, destination);
        image.put_u32(ip + 16, source);
        let checksum = !sum(image);
        image.put_u16(ip + 10, checksum);

        let udp = ip + IPV4_LEN;
        let (source_port, destination_port) = (image.u16_at(udp), image.u16_at(udp + 2));
        image.put_u16(udp, destination_port);
        image.put_u16(udp + 2, source_port);
        image.put_be32(udp + 4, (udp_len as u32) << 16);
    }
}

/// The ones' complement sum over the IPv4 header, in the order in which the
/// bytes stand (RFC 1071, section 2, (B): the order does not matter).
#[inline(always)]
fn sum(image: &Image) -> u16 {
    let mut sum = 0_u64;
    let mut i = 0;
    while i < IPV4_LEN / 4 {
        sum += u64::from(image.u32_at(ETHERNET_LEN + i * 4));
        i += 1;
    }
    // At most five times 2^32: two folds leave at most 17 bits, a third none.
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
