//! The view of pods: the agent with default options beside CoreDNS, which is behind the served
//! address by kube-proxy's rules.
//!
//! `end_to_end` compares each answer that a pod gets with the answer of a CoreDNS asked directly.
//! `profiles` runs real clients.
#![cfg(all(feature = "root-tests", feature = "peers"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod counted;
mod end_to_end;
mod profiles;
mod shapes;
mod site;
