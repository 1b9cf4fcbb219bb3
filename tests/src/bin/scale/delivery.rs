//! The time that the API server alone takes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde::Serialize;

use crate::api::Resource;

/// The mark at the end of a streamed list.
const END: &[u8] = b"k8s.io/initial-events-end";

/// The figures of a client that reads the lists that the agent reads, and throws them away.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Delivery {
    /// Time in seconds.
    pub(crate) seconds: f64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Lists everything, one resource after the other.
pub(crate) fn measure(api: SocketAddr) -> anyhow::Result<Delivery> {
    let start = Instant::now();
    let mut bytes = 0;
    for resource in [
        Resource::Namespaces,
        Resource::Services,
        Resource::EndpointSlices,
    ] {
        bytes += list(api, resource)?;
    }
    Ok(Delivery {
        seconds: start.elapsed().as_secs_f64(),
        bytes,
    })
}

fn list(api: SocketAddr, resource: Resource) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(api)?;
    let path = resource.path();
    write!(
        stream,
        "GET {path}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true \
         HTTP/1.1\r\nHost: {api}\r\n\r\n"
    )?;
    let mut buffer = vec![0; 1 << 18];
    // The mark may lie across two reads.
    let mut tail = Vec::new();
    let mut bytes = 0;
    loop {
        let len = stream.read(&mut buffer)?;
        anyhow::ensure!(len > 0, "{path} broke off");
        bytes += len as u64;
        // The mark is in the last line, which is short.
        tail.extend_from_slice(&buffer[len.saturating_sub(1024)..len]);
        if tail.windows(END.len()).any(|window| window == END) {
            return Ok(bytes);
        }
        tail.drain(..tail.len().saturating_sub(END.len()));
    }
}
