//! The responder on UDP.
//!
//! A thread for each address, blocking: between the arrival of a query and its
//! answer there is one wake-up and no hand-over. The reply leaves from the
//! socket that was asked, hence from the right address.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use headless_ebpf::respond::{self, Scratch};
use headless_ebpf::wire::{IMAGE_CAPACITY, XDP_MESSAGE_MAX};
use headless_ebpf::{abi::PassReason, lookup::Lookup as _};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::debug;

use super::Counts;
use super::lookup::IndexLookup;
use crate::mirror::Mirror;

/// Longest UDP payload.
const DATAGRAM_MAX: usize = 65_535;

/// Answers messages from the mirror.
#[derive(Clone, Debug)]
pub struct Responder {
    mirror: Arc<Mirror>,
    counts: Arc<Counts>,
}

impl Responder {
    /// From `mirror`, counting in `counts`.
    pub fn new(mirror: Arc<Mirror>, counts: Arc<Counts>) -> Self {
        Self { mirror, counts }
    }

    /// Replaces `reply` by the reply to a message that came by UDP; empty where
    /// there is none. `scratch` is working memory.
    pub fn reply(&self, query: &[u8], scratch: &mut Scratch, reply: &mut Vec<u8>) {
        reply.clear();
        match self.by_engine(query, scratch) {
            Ok(len) => {
                reply.extend(scratch.image.as_slice().iter().take(len));
                return;
            }
            Err(reason) => self.counts.passed(reason),
        }
        let count = if let Some(refusal) = refuse(query) {
            reply.extend(refusal);
            &self.counts.resolved
        } else {
            &self.counts.ignored
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Leaves the answer in the image and returns its length in bytes.
    fn by_engine(&self, query: &[u8], scratch: &mut Scratch) -> Result<usize, PassReason> {
        let image = scratch.image.as_mut_slice();
        let room = image.get_mut(..query.len());
        match room {
            Some(room) if query.len() <= IMAGE_CAPACITY / 2 => room.copy_from_slice(query),
            _ => return Err(PassReason::TooLong),
        }
        let index = self.mirror.index();
        let lookup = IndexLookup::new(&index, self.mirror.config());
        let state = lookup.state().ok_or(PassReason::Map)?;
        let reply = respond::answer(scratch, 0, query.len(), XDP_MESSAGE_MAX, state, &lookup)?;
        self.counts.answered(reply.kind, reply.outcome);
        Ok(reply.len)
    }
}

/// REFUSED, to a query that can be read.
fn refuse(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = query.into_response();
    reply.metadata.response_code = ResponseCode::Refused;
    reply.to_vec().ok()
}

/// A socket bound to an address and the thread that serves it.
#[derive(Debug)]
pub struct Server {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Server {
    /// Binds; the address need not exist yet (`IP_FREEBIND`).
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends [`Self::serve`].
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
        let mut scratch = Box::<Scratch>::default();
        while !stop.load(Ordering::Acquire) {
            let (len, client) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_transient(&error) => continue,
                Err(error) => {
                    let context = format!("cannot receive on {address}/udp");
                    return Err(error).context(context);
                }
            };
            let query = buffer.get(..len).unwrap_or_default();
            responder.reply(query, &mut scratch, &mut reply);
            if reply.is_empty() {
                continue;
            }
            if let Err(error) = socket.send_to(&reply, client) {
                // The client may have gone, or its route.
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

/// Errors of receiving that say nothing about the socket: a signal, or what
/// became of an earlier reply.
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
