//! The agent follows a real API server. Tests create and change objects through the API,
//! and check the agent's answers by DNS.
//!
//! Each test starts its own control plane. The agent's token has exactly the rights that
//! `deploy/` grants.
#![cfg(all(feature = "root-tests", feature = "peers"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corefile;
mod deployment;
mod dns_service;
mod exposure;
mod failures;
mod kinds;
mod lists;
mod modes;
mod policies;
mod silence;
mod sizes;
mod sync;
