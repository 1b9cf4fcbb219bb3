//! What the test suites are built from.
//!
//! 1. [`frame`]: query frames, with every deviation that a packet can have.
//! 2. [`maps`]: names as the programs find them, in memory and in the kernel.
//! 3. [`host`] and [`kernel`]: the two homes of the engine that are compared.
//!    [`verifier`]: what the kernel says of the programs.
//! 4. [`decode`]: replies as hickory-proto reads them.
//! 5. [`golden`] and [`hex`]: frames kept in files.
//! 6. [`cluster`]: small clusters and questions about them, at random.
//!    [`agreement`]: the engine against the plain resolver.
//!    [`fuzzed`]: what holds for every frame.
//! 7. [`node`], [`agent`]: a node with pods in network namespaces.
//!    [`tap`]: frames at a pod's end. [`twin`]: a pod and the engine on the host.
//! 8. [`control_plane`]: a real API server on a node.
//! 9. [`differential`]: CoreDNS beside headless.
//!
//! Everything here fails by panicking, for the sake of the stack trace.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod frame;

pub mod maps;

pub mod host;

pub mod kernel;

pub mod verifier;

pub mod decode;

pub mod hex;

pub mod golden;

pub mod cluster;

pub mod agreement;

pub mod fuzzed;

/// The wiring of the lab, which has the same kernel calls to make.
#[path = "../../xtask/src/lab/network.rs"]
mod network;

pub mod node;

pub mod agent;

pub mod tap;

pub mod twin;

pub mod differential;

pub mod control_plane;
