//! What the test suites are built from.
//!
//! [`differential`]: CoreDNS beside headless.

pub mod differential;
