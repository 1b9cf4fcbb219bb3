//! DNS clients in pods, and a stand-in for the cluster's DNS.

use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::Message;
use nix::sys::socket::{setsockopt, sockopt};

use super::wait::wait_for;
use crate::decode;
use crate::frame::Query;

/// How long a client waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A stand-in for the cluster's DNS. It gets the queries that headless passes.
#[derive(Debug)]
pub struct ClusterDns(UdpSocket);

impl ClusterDns {
    /// Receives queries from this socket. Waiting for one may take until `deadline`.
    pub(super) fn new(socket: UdpSocket, deadline: Duration) -> Self {
        socket.set_read_timeout(Some(deadline)).unwrap();
        Self(socket)
    }

    /// Waits for a query.
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let len = self.0.recv(&mut buffer).expect("a query that is passed");
        buffer[..len].to_vec()
    }

    /// Waits for a query and sends it back as a response without records.
    pub fn answer(&self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let (len, from) = self
            .0
            .recv_from(&mut buffer)
            .expect("a query that is passed");
        let query = buffer[..len].to_vec();
        buffer[2] |= 0x80;
        self.0.send_to(&buffer[..len], from).unwrap();
        query
    }

    /// Returns a query that has arrived; `None` if there is none.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        try_receive(&self.0)
    }

    /// Whether no query has arrived. A query that has arrived is lost.
    pub fn is_unasked(&self) -> bool {
        self.try_receive().is_none()
    }
}

/// Returns a message that has arrived, without waiting; `None` if there is none.
fn try_receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 9000];
    socket.set_nonblocking(true).unwrap();
    let received = socket.recv(&mut buffer);
    socket.set_nonblocking(false).unwrap();
    received.ok().map(|len| buffer[..len].to_vec())
}

/// The fate of a query: passed or answered.
#[derive(Debug)]
pub enum Fate {
    /// The query reached the cluster's DNS unchanged.
    Passed,
    /// headless answered.
    Answered(Message),
}

/// A DNS client that checks every reply.
#[derive(Debug)]
pub struct Client(UdpSocket);

impl Client {
    /// Asks by this socket, which must be connected.
    pub(super) fn new(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        Self(socket)
    }

    /// Whether no message has arrived.
    pub fn is_silent(&self) -> bool {
        try_receive(&self.0).is_none()
    }

    /// Asks, and waits until the query is answered or reaches the cluster's DNS.
    pub fn follow(&self, query: &Query, cluster_dns: &ClusterDns) -> Fate {
        self.send(query);
        wait_for(|| {
            if let Some(passed) = cluster_dns.try_receive() {
                assert_eq!(passed, query.message());
                return Ok(Fate::Passed);
            }
            let reply = try_receive(&self.0).ok_or("neither passed nor answered")?;
            Ok(Fate::Answered(decode::message(&query.message(), &reply)))
        })
    }

    /// Sends a query without waiting for a reply.
    pub fn send(&self, query: &Query) {
        self.0.send(&query.message()).unwrap();
    }

    /// Sends bytes that the kernel splits into datagrams of `segment` bytes, as late as it
    /// can (`UDP_SEGMENT`, `udp(7)`).
    pub fn send_segmented(&self, bytes: &[u8], segment: usize) {
        let segment = i32::try_from(segment).unwrap();
        setsockopt(&self.0, sockopt::UdpGsoSegment, &segment).unwrap();
        self.0.send(bytes).unwrap();
    }

    /// Waits for the next message; `None` if none comes within `REPLY_TIMEOUT`.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 9000];
        let len = self.0.recv(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    /// Asks once and returns the reply; `None` if none comes within `REPLY_TIMEOUT`.
    pub fn ask(&self, query: &Query) -> Option<Message> {
        let message = query.message();
        self.0.send(&message).unwrap();
        Some(decode::message(&message, &self.receive()?))
    }
}
