//! Puts queries into Ethernet frames, and takes replies out of them.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use headless_ebpf::wire::frame::IPV4_HEADERS_LEN;

/// Address of the pod that asks.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 7);
const CLIENT_PORT: u16 = 40_000;

/// The frame in which a pod sends a query to `server`. The IPv4 header has no options. The
/// UDP header has no checksum, which RFC 768 allows.
pub fn query(server: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let udp_len = (8 + message.len()) as u16;
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
    ip[6] = 0x40;
    (ip[8], ip[9]) = (64, 17);
    ip[12..16].copy_from_slice(&CLIENT.octets());
    ip[16..20].copy_from_slice(&server.octets());
    let words = ip.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(ip);
    for word in [CLIENT_PORT, 53, udp_len, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(message);
    frame
}

/// The DNS message in a reply to [`query`].
pub fn message(frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    let port = frame.get(36..38).context("frame cut off")?;
    anyhow::ensure!(
        port == CLIENT_PORT.to_be_bytes(),
        "the reply's destination is not the client's port"
    );
    let len = frame.get(38..40).and_then(<[u8]>::first_chunk);
    let len = usize::from(u16::from_be_bytes(*len.context("frame cut off")?));
    let message = frame.get(IPV4_HEADERS_LEN..34 + len);
    Ok(message.context("frame cut off")?.to_vec())
}
