//! The same questions to CoreDNS and to headless, about the same cluster.
//!
//! [`generator`] makes a [`cluster`], [`apiserver`] serves it to [`coredns`],
//! [`ours`] and the [`agent`] take it in directly; [`questions`] come as [`message`]s and
//! [`frame`]s, and [`compare`] finds what differs, short of what
//! [`differences`] allow. [`run`] puts them together.

pub mod cluster;
pub mod generator;

pub mod apiserver;
pub mod client;
pub mod coredns;
pub mod upstream;

pub mod agent;
pub mod frame;
pub mod message;
pub mod ours;
pub mod questions;

pub mod compare;
pub mod differences;
pub mod report;
pub mod run;
