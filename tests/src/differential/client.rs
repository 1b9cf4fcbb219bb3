//! A UDP client of one DNS server, with time limits that suit a busy machine.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a reply may take. The machine may be busy, and CoreDNS may ask its upstream
/// resolver more than once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query counts as ignored when no reply comes within this time.
const SILENCE: Duration = Duration::from_millis(200);

/// How long a server may take to learn of a change of the cluster.
const DEADLINE: Duration = Duration::from_secs(30);

/// A socket that is connected to one server.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    /// Connects to `server`. The client's address is the server's.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((server.ip(), 0))?;
        socket.connect(server)?;
        Ok(Self { socket, server })
    }

    /// Asks by a socket that is connected to `server`.
    pub fn by(socket: UdpSocket, server: SocketAddr) -> Self {
        Self { socket, server }
    }

    /// Asks and returns the reply.
    pub fn ask(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        let reply = self.exchange(query, PATIENCE)?;
        reply.with_context(|| format!("no reply from {} to {}", self.server, query.escape_ascii()))
    }

    /// Asks and returns whether no reply comes.
    pub fn is_ignored(&self, query: &[u8]) -> anyhow::Result<bool> {
        Ok(self.exchange(query, SILENCE)?.is_none())
    }

    /// Asks with random ids until `ready` returns true for a reply. `alive` returns an error when the
    /// server has ended, so that no reply can come.
    pub fn wait_for(
        &self,
        query: &[u8],
        ready: impl Fn(&[u8]) -> bool,
        mut alive: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut query = query.to_vec();
        while Instant::now() < deadline {
            alive()?;
            // A late reply must not look like the reply to a later query, whose id may be 0.
            query[..2].copy_from_slice(&fastrand::u16(1..).to_be_bytes());
            match self.exchange(&query, SILENCE) {
                Ok(Some(reply)) if ready(&reply) => return Ok(()),
                // The server does not listen yet.
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
                    return Err(error.into());
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!(
            "{} does not know the whole cluster after {DEADLINE:?}",
            self.server
        )
    }

    fn exchange(&self, query: &[u8], patience: Duration) -> io::Result<Option<Vec<u8>>> {
        self.socket.send(query)?;
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                // A late reply to an earlier query has another id.
                Ok(len) if buffer.get(..2) == query.get(..2) => {
                    buffer.truncate(len);
                    return Ok(Some(buffer));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
