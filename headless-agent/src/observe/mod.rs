//! The agent's state as an operator sees it: logs, probes, metrics, `status` and `dump`.
//!
//! Every stage publishes a snapshot of its own state. [`Sources`] collects them into one
//! [`Snapshot`], a plain value, and everything that is shown is made from it. So no
//! request waits for a stage, and no stage waits for a request.

pub mod admin;
pub mod client;
mod connections;
pub mod dump;
mod explain;
pub mod log;
pub mod metrics;
mod notes;
mod operator;
pub mod policy;
pub mod probes;
pub mod problems;
pub mod snapshot;
pub mod socket;
pub mod status;
mod tables;
pub mod tally;

pub use self::snapshot::{Snapshot, Sources};
