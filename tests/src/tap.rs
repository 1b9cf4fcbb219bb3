//! Frames as they leave and reach a pod, from the Ethernet header on.
//!
//! A packet socket sees what is sent after the kernel has done all that it does
//! itself, with a checksum where the device makes none (`xmit_one` in
//! net/core/dev.c), and what is received before IP does.

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

/// The pod's own end of its veth.
const INTERFACE: &str = "eth0";

/// Room for the largest datagram and its headers.
const FRAME_MAX: usize = 66_000;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Sent on the interface.
    Out,
    /// Received on it.
    In,
}

/// A packet socket on an interface, which sees everything since it was made.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    interface: usize,
}

impl Tap {
    /// At a pod's end of its veth.
    pub fn of_pod(pod: &Pod) -> Self {
        pod.within(|| Self::open(INTERFACE)).unwrap()
    }

    /// At the node's end, where what comes in has been through XDP and not through tc
    /// (`__netif_receive_skb_core` in net/core/dev.c).
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

    /// The next frame; `None` where there is none yet.
    fn next_of_any(&self) -> Option<(Way, Vec<u8>)> {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            let received = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer);
            let (len, from) = match received {
                Err(Errno::EAGAIN) => return None,
                received => received.unwrap(),
            };
            let from = from.expect("an address of the link layer");
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

    /// The next DNS frame; `None` where there is none yet.
    fn next(&self) -> Option<(Way, Vec<u8>)> {
        std::iter::from_fn(|| self.next_of_any()).find(|(_, frame)| is_dns(frame))
    }

    /// Waits until a frame comes in that is this one, whatever it is. Others before it
    /// are not kept.
    pub fn wait_for(&self, frame: &[u8]) {
        wait_for(|| {
            let mut frames = std::iter::from_fn(|| self.next_of_any());
            let found = frames.any(|found| found == (Way::In, frame.to_vec()));
            if found {
                Ok(())
            } else {
                Err(format!("a frame as\n{}", hex::annotate(frame)))
            }
        });
    }

    /// Waits for the next DNS frame that goes this way. Others before it are not kept.
    pub fn wait(&self, way: Way) -> Vec<u8> {
        wait_for(|| {
            let mut frames = std::iter::from_fn(|| self.next());
            let found = frames.find(|(went, _)| *went == way);
            found
                .map(|(_, frame)| frame)
                .ok_or_else(|| format!("a DNS frame {way:?}"))
        })
    }

    /// DNS frames that have gone this way; others are not kept.
    pub fn gone(&self, way: Way) -> Vec<Vec<u8>> {
        let (these, _) = self.all(way);
        these
    }

    /// DNS frames that have gone this way, and those that went the other.
    pub fn all(&self, way: Way) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let frames = std::iter::from_fn(|| self.next());
        let (these, others): (Vec<_>, Vec<_>) = frames.partition(|(went, _)| *went == way);
        let frames = |of: Vec<(Way, Vec<u8>)>| of.into_iter().map(|(_, frame)| frame).collect();
        (frames(these), frames(others))
    }

    /// Sends a frame as it stands. This socket does not see it.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: all bits zero are a value of this type.
        let mut to: sockaddr_ll = unsafe { zeroed() };
        to.sll_family = AF_PACKET as u16;
        to.sll_ifindex = i32::try_from(self.interface).unwrap();
        let len = size_of::<sockaddr_ll>() as u32;
        // SAFETY: an address of this family and this length.
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
