//! Decides on which pods' interfaces questions are answered. Pure: no I/O, no async.
//!
//! A [`Mode`] holds for each interface.

pub mod mode;

pub use self::mode::Mode;
