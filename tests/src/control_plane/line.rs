//! A TCP proxy in front of the API server, which a test can cut and restore.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections from one port of loopback to another until it is cut.
#[derive(Debug)]
pub struct Line {
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Line {
    /// Listens at `from` and connects to `to`, both on loopback.
    pub fn new(from: u16, to: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], from));
        Self::from(std::net::TcpListener::bind(address).unwrap(), to)
    }

    /// Listens by this socket, of whatever network namespace, and connects to `to` on
    /// loopback.
    pub fn from(listener: std::net::TcpListener, to: u16) -> Self {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let shared = Arc::clone(&open);
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut open = shared.subscribe();
                if !*open.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(address(to)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { open, task }
    }

    /// Closes all connections, and closes each new one at once.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Forwards new connections again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}
