//! Building blocks of the test suites.
//!
//! 1. [`frame`]: makes query frames, well-formed or malformed in any field.
//! 2. [`maps`]: writes names into the maps of the host or of the kernel.
//! 3. [`host`] and [`kernel`]: run the engine on the host and in the kernel, to compare
//!    the two. [`verifier`]: counts the instructions that the verifier processes.
//! 4. [`decode`]: reads replies with hickory-proto and checks them.
//! 5. [`golden`] and [`hex`]: keep frames in files.
//! 6. [`cluster`]: makes small random clusters and questions about them.
//!    [`agreement`]: compares the engine with the plain resolver.
//!    [`fuzzed`]: checks the properties that hold for every frame.
//! 7. [`node`] and [`agent`]: a node with pods in network namespaces, and an agent on it.
//!    [`bpf_link`]: finds and detaches links.
//!    [`tap`]: captures frames of an interface. [`twin`]: a pod beside the engine on the
//!    host.
//! 8. [`control_plane`]: starts a real API server on a node. [`scene`]: agents that follow
//!    it, and questions to them.
//! 9. [`differential`]: compares headless with CoreDNS. [`cases`]: keeps questions with
//!    CoreDNS's answers in files.
//!
//! 10. [`served_node`]: a node with CoreDNS behind the served address.
//!
//! All of it panics on failure, because a panic shows the stack trace.
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

/// The lab's network set-up, shared because tests make the same kernel calls.
#[path = "../../xtask/src/lab/network.rs"]
mod network;

pub mod node;

pub mod agent;

pub mod bpf_link;

pub mod tap;

pub mod twin;

pub mod differential;

pub mod cases;

pub mod control_plane;

pub mod scene;

pub mod served_node;
