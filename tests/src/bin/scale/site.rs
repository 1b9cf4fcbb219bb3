//! The place where a peer runs.

use std::net::{SocketAddr, TcpListener};

use headless_tests::node::Node;

use crate::api::ApiServer;

/// A node with a pod and the API server on its loopback.
pub(crate) struct Site {
    pub(crate) node: Node,
    /// Where the API server listens.
    pub(crate) api: SocketAddr,
}

impl Site {
    pub(crate) fn new(api: &ApiServer) -> anyhow::Result<Self> {
        let node = Node::new();
        let listener = node.run(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let address = listener.local_addr()?;
        api.serve(listener)?;
        Ok(Self { node, api: address })
    }

    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce(SocketAddr) -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let api = self.api;
        self.node.run(move || work(api))
    }
}
