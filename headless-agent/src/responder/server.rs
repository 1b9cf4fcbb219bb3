//! The responder on UDP.
//!
//! Each address has a thread that blocks on its socket, so a query costs one wake-up and
//! no hand-over between threads. The reply leaves by the same socket, and so from the
//! address that was asked.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use fastrand::Rng;
use headless_ebpf::respond::{self, Message, Scratch};
use headless_ebpf::wire::frame::FRAME_MAX;
use headless_ebpf::wire::{Capacity as _, Small};
use headless_ebpf::{
    abi::{Config, PassReason},
    maps::Lookup as _,
};
use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::debug;

use super::ResponderCounts;
use super::lookup::IndexLookup;
use crate::corefile::standing::Report;
use crate::maps::encode::passed_names;
use crate::mirror::Mirror;
use crate::records::{self, Reply, Transport};

/// Longest UDP payload.
const DATAGRAM_MAX: usize = 65_535;

/// Answers messages by the index of the mirror.
#[derive(Clone, Debug)]
pub struct Responder {
    mirror: Arc<Mirror>,
    counts: Arc<ResponderCounts>,
}

impl Responder {
    /// A responder that answers by the index of `mirror` and counts in `counts`.
    pub fn new(mirror: Arc<Mirror>, counts: Arc<ResponderCounts>) -> Self {
        Self { mirror, counts }
    }

    /// Replaces `reply` by the reply to a message that came by UDP. `reply` is empty where
    /// the message gets no reply.
    pub fn reply(&self, query: &[u8], memory: &mut Memory, reply: &mut Vec<u8>) {
        reply.clear();
        let report = self.mirror.standing().report();
        match self.by_engine(query, memory, &report) {
            Ok(len) => reply.extend(memory.scratch.image.as_slice().iter().take(len)),
            Err(reason) => {
                self.counts.passed(reason);
                reply.extend(self.by_rules(query, &mut memory.rng, &report));
            }
        }
    }

    /// Answers a query that the engine passed.
    fn by_rules(&self, query: &[u8], rng: &mut Rng, report: &Report) -> Vec<u8> {
        let index = self.mirror.index();
        let reply = if report.left.is_empty() {
            records::reply(&index, query, Transport::Udp, rng)
        } else {
            // The rules know no questions that are left to CoreDNS.
            records::refusal(query, Transport::Udp)
        };
        let (reply, count) = match reply {
            Reply::Message(reply) => (reply, &self.counts.resolved),
            // The agent has no upstream resolvers, so the CNAMEs stand alone.
            Reply::Chase(unfinished) => (unfinished.finish(Vec::new(), rng), &self.counts.resolved),
            Reply::Forward(forwarded) => (forwarded.refused(), &self.counts.refused),
            Reply::Ignore => (Vec::new(), &self.counts.ignored),
        };
        count.fetch_add(1, Ordering::Relaxed);
        reply
    }

    /// Answers by the engine: leaves the answer in the image and returns its length in
    /// bytes.
    fn by_engine(
        &self,
        query: &[u8],
        memory: &mut Memory,
        report: &Arc<Report>,
    ) -> Result<usize, PassReason> {
        let Memory {
            scratch, settings, ..
        } = memory;
        let image = scratch.image.as_mut_slice();
        let room = image.get_mut(..query.len());
        match room {
            Some(room) if query.len() <= FRAME_MAX => room.copy_from_slice(query),
            _ => return Err(PassReason::TooLong),
        }
        let index = self.mirror.index();
        let config = self.settings(settings, report).ok_or(PassReason::Map)?;
        let lookup = IndexLookup::new(&index, config, report.left.parts);
        let state = lookup.state().ok_or(PassReason::Map)?;
        let message = Message {
            start: 0,
            end: query.len(),
            capacity: Small::MESSAGE_MAX,
        };
        let reply = respond::answer::<Small, _>(&mut **scratch, message, state, &lookup)?;
        self.counts.answered(reply.kind, reply.outcome);
        Ok(reply.len)
    }

    /// The settings of the engine, with the names that `report` leaves to CoreDNS. They are made
    /// again where `known` has those of another report. `None` where the names do not fit.
    fn settings<'a>(
        &self,
        known: &'a mut Option<(Arc<Report>, Box<Config>)>,
        report: &Arc<Report>,
    ) -> Option<&'a Config> {
        if !matches!(known, Some((of, _)) if Arc::ptr_eq(of, report)) {
            let mut config = Box::new(*self.mirror.config());
            config.passed = passed_names(&config, &report.left.names)?;
            *known = Some((Arc::clone(report), config));
        }
        known.as_ref().map(|(_, config)| &**config)
    }
}

/// Working memory of one responder.
#[derive(Debug, Default)]
pub struct Memory {
    scratch: Box<Scratch>,
    rng: Rng,
    /// The settings of the engine, with the report for which they were made.
    settings: Option<(Arc<Report>, Box<Config>)>,
}

/// A socket bound to an address and the thread that serves it.
#[derive(Debug)]
pub struct Server {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Server {
    /// Binds a socket to the address, which need not exist yet (`IP_FREEBIND`).
    pub fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = bind(address).with_context(|| format!("cannot listen on {address}/udp"))?;
        let address = socket
            .local_addr()
            .with_context(|| format!("cannot listen on {address}/udp"))?;
        Ok(Self {
            socket: Arc::new(socket),
            stop: Arc::default(),
            address,
        })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A stopper, which ends [`Self::serve`].
    pub fn stopper(&self) -> Stopper {
        Stopper {
            socket: Arc::clone(&self.socket),
            stop: Arc::clone(&self.stop),
        }
    }

    /// Answers until stopped; blocks.
    pub fn serve(self, responder: &Responder) -> anyhow::Result<()> {
        let Self {
            socket,
            stop,
            address,
        } = self;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let mut reply = Vec::new();
        let mut memory = Memory::default();
        loop {
            let received = receive(&socket, &mut buffer);
            if stop.load(Ordering::Acquire) {
                // The shutdown has woken the thread. No datagram has come.
                break;
            }
            let (len, client) = match received {
                Ok(Some(received)) => received,
                // Without a sender there is nobody to reply to.
                Ok(None) => continue,
                Err(error) if is_transient(&error) => continue,
                Err(error) => {
                    let context = format!("cannot receive on {address}/udp");
                    return Err(error).context(context);
                }
            };
            let query = buffer.get(..len).unwrap_or_default();
            responder.reply(query, &mut memory, &mut reply);
            if reply.is_empty() {
                continue;
            }
            if let Err(error) = socket.send_to(&reply, client) {
                // The client or its route may be gone.
                responder.counts.unsent.fetch_add(1, Ordering::Relaxed);
                debug!(%client, %error, "reply not sent");
            }
        }
        Ok(())
    }
}

/// Ends a [`Server`].
#[derive(Clone, Debug)]
pub struct Stopper {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
}

impl Stopper {
    /// Wakes the thread and lets it end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // On an unconnected socket this returns ENOTCONN, and wakes the
        // receiver all the same (`inet_shutdown`).
        if let Err(error) = SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Both) {
            debug!(%error, "socket shut down");
        }
    }
}

/// Waits for a datagram. Returns its length in bytes and its sender; `None` for the sender
/// where the kernel names none, as after a shutdown. There `UdpSocket::recv_from` of the standard
/// library reads an address that was never written: it returns an error, or panics where an
/// earlier address is left in that memory.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    let (len, _, sender) = recvfrom(socket, buffer, RecvFlags::empty())?;
    Ok(match sender {
        Some(sender) => Some((len, sender.try_into()?)),
        None => None,
    })
}

/// Whether an error of receiving says nothing about the socket: a signal came, or an
/// earlier reply could not be delivered.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_freebind_v6(true)?;
            socket.set_only_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_socket_that_is_shut_down_has_no_sender() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let [server, client] = [bind(any), bind(any)].map(Result::unwrap);
        let [to, from] = [&server, &client].map(|socket| socket.local_addr().unwrap());
        let mut buffer = [0; 16];
        client.send_to(b"abc", to).unwrap();
        assert_eq!(receive(&server, &mut buffer).unwrap(), Some((3, from)));
        assert_eq!(&buffer[..3], b"abc");
        let shut = SockRef::from(&server).shutdown(std::net::Shutdown::Both);
        assert_eq!(shut.unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(receive(&server, &mut buffer).unwrap(), None);
    }
}
