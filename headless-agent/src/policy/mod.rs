//! Decides on which pods' interfaces questions are answered. Pure: no I/O, no async.
//!
//! Objects of the cluster become a [`Decision`] about each pod of the node ([`pods`]). What the
//! kernel knows about addresses makes of it a [`Mode`] for each interface ([`interfaces`]).

pub mod interfaces;
mod listed;
pub mod mode;
mod network;
pub mod pods;
mod policies;

pub use self::interfaces::{Assignment, Assignments};
pub use self::mode::Mode;
pub use self::pods::{Cause, Decision, Objects, Rules};
