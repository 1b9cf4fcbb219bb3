//! 4. XDP ANSWERS. The program, and the interfaces it is on.
//!
//! [`probe`] says what the machine lacks, [`load`] brings the object into the
//! kernel, [`discover`] follows the node's interfaces, [`links`] tells pods'
//! from others, and [`attach`] puts the program on them.

// The wiring holds these without naming where they come from.
pub use aya::Ebpf;
pub use aya_log::EbpfLogger;

pub mod attach;
pub mod discover;
pub mod links;
pub mod load;
pub mod probe;
