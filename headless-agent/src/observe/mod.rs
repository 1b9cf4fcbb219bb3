//! What an operator sees: logs, probes, metrics, `status` and `dump`.
//!
//! Every stage publishes a snapshot of its own. [`Sources`] knows where they are, and
//! all that is shown is made from one [`Snapshot`], a plain value. So no request
//! waits for a stage, and no stage for a request.

pub mod admin;
pub mod client;
pub mod dump;
pub mod log;
pub mod metrics;
pub mod probes;
pub mod problems;
pub mod snapshot;
pub mod status;
pub mod tally;

pub use self::snapshot::{Snapshot, Sources};
