//! Floods: what they cost the agent, and whether anything starves. `cargo xtask test --kernels`
//! leaves this suite out, because an emulated CPU takes no flood in time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod pod;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One flood at a time: each keeps both CPUs of a small machine busy.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
