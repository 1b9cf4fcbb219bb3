//! The user side of headless: the agent.
//!
//! The folders are the way of the data, in order:
//!
//! ```text
//!  watch ──► records ──► maps ──► datapath ──► pods
//!  objects   names       bytes    programs   │ what they pass
//!                │                             ▼
//!                └─────────────────────────► responder
//! ```
//!
//! [`watch`] turns Kubernetes objects into events, [`records`] keeps the names
//! they make, [`mirror`] is the loop that holds index and maps together,
//! [`maps`] writes what changed, [`datapath`] has the program on pods' interfaces,
//! [`responder`] answers what the program leaves, and [`observe`] shows it all.
//! [`run`] puts them together.
#![forbid(unsafe_code)]

pub mod watch;

pub mod records;

pub mod mirror;

pub mod maps;

pub mod datapath;
pub mod responder;

pub mod observe;

pub mod config;

pub mod check;
pub mod run;

pub mod args;
