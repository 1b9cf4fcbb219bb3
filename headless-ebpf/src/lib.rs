//! The answer engine of headless: it turns a DNS query into its reply, by records in maps.
//!
//! The engine is an ordinary library and knows no kernel. The same code runs in the XDP
//! program, in the tc program, in the agent's UDP responder, in host tests and in fuzz
//! targets. It allocates no memory, and every loop has a constant bound. It changes a packet
//! only after everything that can fail has succeeded, so that a packet that is not answered
//! leaves bit for bit as it came.
//!
//! The modules, lowest layer first:
//!
//! 1. [`verifier`]: the operations that keep the programs small for the kernel's verifier.
//! 2. [`abi`]: all data that the agent and the programs share: map keys and values, counters,
//!    limits. Plain `repr(C)` structures.
//! 3. [`wire`]: reads and writes frames and DNS messages. A [`wire::frame::Packet`] is loaded
//!    into a [`wire::Image`], the copy that the engine reads and writes.
//! 4. [`maps`]: the trait through which the engine reads maps. The programs implement it over
//!    BPF maps, the agent and the tests over memory.
//! 5. [`respond`]: decides about the answer. [`respond::respond`] takes an Ethernet frame,
//!    [`respond::answer`] a bare DNS message.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod verifier;
pub mod wire;

pub mod maps;
pub mod respond;
