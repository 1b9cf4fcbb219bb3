//! Compares headless with CoreDNS: both get the same cluster and the same questions.
//!
//! 1. [`generator`] makes a random [`cluster`] and changes it.
//! 2. [`apiserver`] serves the cluster to [`coredns`]. [`ours`] reads the objects
//!    directly. The [`agent`] reads them from the API server or from a folder.
//!    [`upstream`] answers names outside the cluster. [`corefiles`] are those of distributions.
//! 3. [`questions`] makes queries about the cluster. [`message`] writes queries and reads
//!    replies. [`frame`] puts queries into frames. [`client`] sends them over UDP.
//! 4. [`compare`] finds the difference between two replies. [`differences`] knows the
//!    differences that are allowed. [`report`] counts.
//! 5. [`run`] carries out a plan with all of these parts.

pub mod cluster;
pub mod generator;

pub mod apiserver;
pub mod client;
pub mod coredns;
pub mod corefiles;
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
