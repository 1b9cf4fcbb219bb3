//! The kernel side of headless, as a library that knows no kernel.
//!
//! A DNS query takes this way through the modules, in reading order:
//!
//! 1. [`abi`]: what crosses the boundary between the agent and the BPF
//!    programs: map keys and values, counters, limits. Plain `repr(C)` data.
//! 2. [`wire`]: bytes to meaning and back. A [`wire::frame::Packet`] lends its bytes,
//!    a [`wire::Image`] is the copy that everything reads and writes.
//! 3. [`maps`]: what the engine asks of the maps, as a trait. The BPF
//!    programs answer from BPF maps, host tests and the agent from memory.
//! 4. [`respond`]: the whole decision, [`respond::respond`] for an Ethernet
//!    frame and `respond::answer` for a bare DNS message.
//!
//! The same code runs in the XDP program, in `BPF_PROG_TEST_RUN`, in host
//! tests, in fuzz targets and in the agent's UDP responder. It allocates
//! nothing, every loop has a constant bound, and nothing is written to a
//! packet until nothing can fail: a packet that is not answered leaves bit for
//! bit as it came.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod verifier;
pub mod wire;

pub mod maps;
pub mod respond;
