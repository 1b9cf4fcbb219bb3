//! 4. XDP AND TC ANSWER. The programs, and the interfaces they are on.
//!
//! [`probe`] says what the machine lacks, [`object`] brings the programs into the
//! kernel, [`discover`] follows the node's interfaces, [`links`] tells pods'
//! from others, and [`attach`] puts the programs on them: XDP unless [`lift`] says
//! that the pod sends too much for it, and tc behind it.

// The wiring holds these without naming where they come from.
pub use aya::Ebpf;
pub use aya_log::EbpfLogger;

pub mod attach;
pub mod discover;
pub mod lift;
pub mod links;
pub mod object;
pub mod probe;
