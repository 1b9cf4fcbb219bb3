//! Captures of the frames that an interface sends and receives, from the Ethernet
//! header on.
//!
//! A packet socket sees an outgoing frame last, just before the device: if the device
//! computes no checksums, the kernel has filled the checksum in by then (`xmit_one` in
//! net/core/dev.c). It sees an incoming frame before the IP layer does.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc::{AF_PACKET, PACKET_OUTGOING, sockaddr_ll};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _,
    recvfrom, sendto, socket,
};

use crate::frame::{HEADERS_LEN, HEADERS_LEN_V6};
use crate::hex;
use crate::node::{Node, Pod, wait_for};

/// Name of the pod's end of its veth.
const INTERFACE: &str = "eth0";

/// Size in bytes of the receive buffer: the largest IP datagram and its headers.
const FRAME_MAX: usize = 66_000;

/// Direction of a frame, as the interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The interface sent the frame.
    Out,
    /// The interface received the frame.
    In,
}

/// A packet socket on one interface. It sees every frame since it was opened.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    interface: usize,
}

impl Tap {
    /// Opens a tap on the pod's end of its veth.
    pub fn of_pod(pod: &Pod) -> Self {
        pod.within(|| Self::open(INTERFACE)).unwrap()
    }

    /// Opens a tap on the node's end of a veth. An incoming frame gets there after XDP
    /// and before tc (`__netif_receive_skb_core` in net/core/dev.c).
    pub fn of_node(node: &Node, interface: &str) -> Self {
        node.run(|| Self::open(interface)).unwrap()
    }

    fn open(interface: &str) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (family, kind) = (AddressFamily::Packet, SockType::Raw);
        Ok(Self {
            socket: socket(family, kind, flags, SockProtocol::EthAll)?,
            interface: if_nametoindex(interface)? as usize,
        })
    }

    /// The next frame; `None` if none has come yet.
    fn next_frame(&self) -> Option<(Way, Vec<u8>)> {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            let received = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer);
            let (len, from) = match received {
                Err(Errno::EAGAIN) => return None,
                received => received.unwrap(),
            };
            let from = from.expect("a packet socket tells the link-layer address");
            let way = if from.pkttype() == PACKET_OUTGOING {
                Way::Out
            } else {
                Way::In
            };
            if from.ifindex() == self.interface {
                return Some((way, buffer[..len].to_vec()));
            }
        }
    }

    /// The next DNS frame; `None` if none has come yet.
    fn next_dns_frame(&self) -> Option<(Way, Vec<u8>)> {
        std::iter::from_fn(|| self.next_frame()).find(|(_, frame)| is_dns(frame))
    }

    /// Waits until the interface receives exactly this frame, DNS or not. Discards the
    /// frames before it.
    pub fn wait_for(&self, frame: &[u8]) {
        wait_for(|| {
            let mut frames = std::iter::from_fn(|| self.next_frame());
            let found = frames.any(|found| found == (Way::In, frame.to_vec()));
            if found {
                Ok(())
            } else {
                Err(format!("no such frame received:\n{}", hex::annotate(frame)))
            }
        });
    }

    /// Waits for the next DNS frame in this direction. Discards the frames before it.
    pub fn wait(&self, way: Way) -> Vec<u8> {
        wait_for(|| {
            let mut frames = std::iter::from_fn(|| self.next_dns_frame());
            let found = frames.find(|(went, _)| *went == way);
            found
                .map(|(_, frame)| frame)
                .ok_or_else(|| format!("no DNS frame in the direction {way:?}"))
        })
    }

    /// Takes the captured DNS frames of one direction. Discards all other frames.
    pub fn gone(&self, way: Way) -> Vec<Vec<u8>> {
        self.all(way).0
    }

    /// Takes all captured DNS frames, as two lists: this direction and the other one.
    pub fn all(&self, way: Way) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let frames = std::iter::from_fn(|| self.next_dns_frame());
        let (these, others): (Vec<_>, Vec<_>) = frames.partition(|(went, _)| *went == way);
        let frames = |of: Vec<(Way, Vec<u8>)>| of.into_iter().map(|(_, frame)| frame).collect();
        (frames(these), frames(others))
    }

    /// Sends a frame without any change. A packet socket does not capture the frames
    /// that it sends itself.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: `sockaddr_ll` is plain integers, for which all bits zero are valid.
        let mut to: sockaddr_ll = unsafe { zeroed() };
        to.sll_family = AF_PACKET as u16;
        to.sll_ifindex = i32::try_from(self.interface).unwrap();
        let len = size_of::<sockaddr_ll>() as u32;
        // SAFETY: `to` is a live `sockaddr_ll` of family AF_PACKET, and `len` its size.
        let to = unsafe { LinkAddr::from_raw((&raw const to).cast(), Some(len)) };
        let socket = self.socket.as_raw_fd();
        let sent = sendto(socket, frame, &to.unwrap(), MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()));
    }
}

/// Whether a frame is UDP from or to port 53.
fn is_dns(frame: &[u8]) -> bool {
    let (protocol, udp) = match frame.get(12..14) {
        Some([0x08, 0x00]) => (23, HEADERS_LEN - 8),
        Some([0x86, 0xdd]) => (20, HEADERS_LEN_V6 - 8),
        _ => return false,
    };
    let is_udp = frame.get(protocol) == Some(&17);
    let ports = frame.get(udp..udp + 4);
    is_udp && ports.is_some_and(|ports| [&ports[..2], &ports[2..]].contains(&&[0, 53][..]))
}
