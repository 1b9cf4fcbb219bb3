//! The user side of headless: the agent.
//!
//! The folders follow the data:
//!
//! ```text
//!  watch ──► records ──► maps ──► datapath ──► pods
//!  objects   names       bytes    programs   │ what they pass
//!                │                             ▼
//!                └─────────────────────────► responder
//! ```
//!
//! [`watch`] turns Kubernetes objects into events. [`records`] keeps the names that
//! the objects make, in an index. [`maps`] writes changed names into BPF maps, and
//! [`mirror`] is the loop that keeps index and maps equal to the cluster.
//! [`policy`] decides which pods are answered, and
//! [`datapath`] keeps the BPF programs on these pods' interfaces. [`responder`] answers
//! queries that the programs pass. [`observe`] shows the state of all of them.
//! [`args`] reads the command line, [`config`] holds the settings that follow from
//! it, and [`run`] starts and stops everything, on [`threads`] of which few have
//! capabilities.
// Only `maps::store::words` has unsafe code: it maps arrays of the kernel into memory.
#![deny(unsafe_code)]

pub mod corefile;
pub mod pace;
pub mod selector;
pub mod threads;

pub mod watch;

pub mod records;

pub mod mirror;

pub mod maps;

pub mod policy;

pub mod datapath;
pub mod responder;

pub mod observe;

pub mod config;

pub mod check;
pub mod run;

pub mod args;
