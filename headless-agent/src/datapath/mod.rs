//! The programs that answer, and the interfaces that carry them.
//!
//! [`probe`] names the requirements that the machine does not meet, [`object`] loads the
//! programs, and [`load`] opens their maps. One task ([`keep`]) owns everything else. It
//! hears from the kernel about interfaces and routes ([`discover`], [`links`], [`routes`]),
//! where the pods' addresses are ([`places`]), and compares the programs that each interface should carry with the programs that it
//! carries ([`attach`]). [`lift`] decides when a pod sends too much for XDP. [`plan`] holds
//! the operator's choices. All other tasks read the [`snapshot`] that this task publishes.

pub mod attach;
pub mod discover;
pub mod keep;
pub mod lift;
pub mod links;
pub mod load;
pub mod object;
pub mod places;
pub mod plan;
pub mod probe;
pub mod routes;
pub mod snapshot;
