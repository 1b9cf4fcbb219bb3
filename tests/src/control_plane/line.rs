//! A line to the API server that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections from one port to another, unless cut.
#[derive(Debug)]
pub struct Line {
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Line {
    /// Listens at `from` and connects to `to`, both on loopback.
    pub async fn new(from: u16, to: u16) -> Self {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address(from)).await.unwrap();
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

    /// Ends all connections and lets none through.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}
