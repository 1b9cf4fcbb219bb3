//! Turns the headers of a query into the headers of its reply.

use super::{
    checksum,
    headers::{PROTOCOL_UDP, VERSION_IHL},
    shape::{IPV4_LEN, IPV6_LEN, MESSAGE, Shape, UDP_LEN},
};
use crate::{
    abi::Family,
    wire::{bytes::Image, capacity::Capacity},
};

/// The don't-fragment bit in the IPv4 header's second word, which holds identification and
/// fragment offset.
const DONT_FRAGMENT: u64 = u32::from_le_bytes([0, 0, 0x40, 0]) as u64;
/// Time to live (IPv4) or hop limit (IPv6) of replies.
const HOPS: u8 = 64;

/// Offset of the IPv4 header in an image.
const IPV4_AT: usize = MESSAGE - UDP_LEN - IPV4_LEN;

/// Offset of the IPv6 header in an image.
const IPV6_AT: usize = MESSAGE - UDP_LEN - IPV6_LEN;

/// Turns the headers of an IPv4 query in `image` into the headers of a reply with a DNS message
/// of `message_len` bytes.
///
/// The UDP checksum is zero, which means that there is none (RFC 768): XDP cannot tell a
/// finished checksum from one that the sender left to a device. The don't-fragment bit is set,
/// and the identification is zero, which RFC 6864, section 4.1, allows for packets that are
/// never fragmented.
#[inline(always)]
pub fn reply_ipv4(image: &mut Image, shape: Shape, message_len: usize) {
    swap_ethernet(image, shape.at());
    let ip = IPV4_AT;
    let udp_len = UDP_LEN + message_len;
    let (source, destination) = (image.u32_at(ip + 12), image.u32_at(ip + 16));
    let len = ((IPV4_LEN + udp_len) as u16).swap_bytes();
    let first = u64::from(VERSION_IHL) | u64::from(len) << 16 | DONT_FRAGMENT << 32;
    let third = u32::from_le_bytes([HOPS, PROTOCOL_UDP, 0, 0]);
    // The sum is made from the values. A load of bytes that were just written in other sizes
    // would have to wait for the stores.
    let sum = (first & 0xffff_ffff) + (first >> 32) + u64::from(third);
    let sum = checksum::fold(sum + u64::from(source) + u64::from(destination));
    image.put_u64(ip, first);
    image.put_u32(ip + 8, third | u32::from(!sum) << 16);
    image.put_u32(ip + 12, destination);
    image.put_u32(ip + 16, source);
    put_udp(image, udp_len);
}

/// Turns the headers of an IPv6 query in `image` into the headers of a reply with a DNS message
/// of `message_len` bytes. UDP over IPv6 must have a checksum (RFC 8200, section 8.1).
#[inline(always)]
pub fn reply_ipv6<C: Capacity>(image: &mut Image, shape: Shape, message_len: usize) {
    swap_ethernet(image, shape.at());
    let ip = IPV6_AT;
    let udp_len = UDP_LEN + message_len;
    let (source, destination) = (image.u128_at(ip + 8), image.u128_at(ip + 24));
    image.put_be32(ip, 0x6000_0000);
    image.put_be16(ip + 4, udp_len as u16);
    image.put_u8(ip + 6, PROTOCOL_UDP);
    image.put_u8(ip + 7, HOPS);
    image.put_u128(ip + 8, destination);
    image.put_u128(ip + 24, source);
    put_udp(image, udp_len);
    // The checksum covers addresses, UDP header and message, which follow each other, and the
    // rest of the pseudo-header (RFC 8200, section 8.1): length and protocol.
    let pseudo = u64::from((udp_len as u16).to_be()) + u64::from(u16::from(PROTOCOL_UDP).to_be());
    let sum = checksum::sum::<C>(image, ip + 8, MESSAGE + message_len) + pseudo;
    // A checksum of zero is sent as all ones, since zero means that there is none.
    let checksum = match !checksum::fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    image.put_u16(MESSAGE - UDP_LEN + 6, checksum);
}

/// The content of the UDP checksum field in a reply whose checksum a device finishes: the sum of
/// the pseudo-header (`CHECKSUM_PARTIAL` in include/linux/skbuff.h), in network byte order. The
/// reply is the frame of `len` bytes in `image`.
#[inline(always)]
pub fn partial_checksum(image: &Image, shape: Shape, len: usize) -> u16 {
    let addresses = match shape.family() {
        Family::Ipv4 => 8,
        Family::Ipv6 => 32,
    };
    let udp_len = len - (shape.headers_len() - UDP_LEN);
    let mut sum = u64::from((udp_len as u16).to_be()) + u64::from(u16::from(PROTOCOL_UDP).to_be());
    for i in 0..addresses / 4 {
        sum += u64::from(image.u32_at(MESSAGE - UDP_LEN - addresses + i * 4));
    }
    checksum::fold(sum)
}

/// Swaps the Ethernet addresses. VLAN tag and Ethernet type stay.
#[inline(always)]
fn swap_ethernet(image: &mut Image, at: usize) {
    let Some(addresses) = image.window_mut::<12>(at) else {
        return;
    };
    // Two addresses of six bytes, as one word of eight bytes and one of four.
    let (first, last) = addresses.split_at_mut(8);
    let (Some(first), Some(last)) = (first.first_chunk_mut(), last.first_chunk_mut()) else {
        return;
    };
    let (low, high) = (u64::from_le_bytes(*first), u32::from_le_bytes(*last));
    *first = (low >> 48 | u64::from(high) << 16 | low << 48).to_le_bytes();
    *last = ((low >> 16) as u32).to_le_bytes();
}

/// Writes the UDP header: swapped ports, the length, and no checksum.
#[inline(always)]
fn put_udp(image: &mut Image, udp_len: usize) {
    let udp = MESSAGE - UDP_LEN;
    let (source_port, destination_port) = (image.u16_at(udp), image.u16_at(udp + 2));
    image.put_u16(udp, destination_port);
    image.put_u16(udp + 2, source_port);
    image.put_be32(udp + 4, (udp_len as u32) << 16);
}
