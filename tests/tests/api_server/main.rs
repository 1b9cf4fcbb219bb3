//! The agent beside a real API server: objects are made through the API, and
//! what became of them is asked for by DNS.
//!
//! Each test has a control plane of its own. The agent's token has exactly the
//! rights that `deploy/` gives.
#![cfg(all(feature = "root-tests", feature = "peers"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

mod deployment;
mod failures;
mod kinds;
mod lists;
mod silence;
mod sync;
