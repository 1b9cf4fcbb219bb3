//! A node and its pods, each in a network namespace without a name. A namespace ends with
//! the last process and file descriptor that holds it, so nothing needs to be cleaned up.

mod client;
mod namespace;
mod pod;
mod wait;

pub use self::client::{Client, ClusterDns, Fate};
pub use self::namespace::Node;
pub use self::pod::Pod;
pub use self::wait::{DEADLINE, wait_for};
