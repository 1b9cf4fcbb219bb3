//! Every answer of headless beside the one of CoreDNS itself.
#![cfg(feature = "peers")]
