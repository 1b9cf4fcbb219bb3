//! Asking a server over UDP, with the patience that it deserves.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long an answer may take: on a busy machine, and where CoreDNS asks its
/// upstream resolver more than once.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long no answer has to be awaited to be sure of it.
const SILENCE: Duration = Duration::from_millis(200);

/// How long a server may take to learn what happened.
const DEADLINE: Duration = Duration::from_secs(30);

/// A socket that talks to one server.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    /// Talks to `server` from its own address.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((server.ip(), 0))?;
        socket.connect(server)?;
        Ok(Self { socket, server })
    }

    /// The answer.
    pub fn ask(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        let reply = self.exchange(query, PATIENCE)?;
        reply.with_context(|| format!("no answer from {} to {}", self.server, query.escape_ascii()))
    }

    /// Whether there is no answer.
    pub fn is_ignored(&self, query: &[u8]) -> anyhow::Result<bool> {
        Ok(self.exchange(query, SILENCE)?.is_none())
    }

    /// Asks until `ready` likes the answer. `alive` fails where there will be
    /// none.
    pub fn wait_for(
        &self,
        query: &[u8],
        ready: impl Fn(&[u8]) -> bool,
        mut alive: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            alive()?;
            match self.exchange(query, SILENCE) {
                Ok(Some(reply)) if ready(&reply) => return Ok(()),
                // Nobody listens yet.
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
                    return Err(error.into());
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!("{} does not come to know the cluster", self.server)
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
                // An answer that was given up has another id.
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
