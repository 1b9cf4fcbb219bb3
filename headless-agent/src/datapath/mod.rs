//! 4. XDP AND TC ANSWER. The programs, and the interfaces that carry them.
//!
//! [`probe`] says what the machine lacks, [`object`] loads the programs, and [`load`] opens
//! their maps. One task
//! ([`keep`]) owns everything else: it hears from the kernel about interfaces and routes
//! ([`discover`], [`links`], [`routes`]), and compares what each interface should carry
//! with what the kernel says that it carries ([`attach`]). [`lift`] decides when a pod
//! sends too much for XDP. [`plan`] holds the operator's choices. Everybody else reads
//! the [`snapshot`] that the task publishes.

pub mod attach;
pub mod discover;
pub mod keep;
pub mod lift;
pub mod links;
pub mod load;
pub mod object;
pub mod plan;
pub mod probe;
pub mod routes;
pub mod snapshot;
