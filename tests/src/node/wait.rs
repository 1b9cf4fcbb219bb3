//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// The longest wait for an event that must happen. `DEADLINE_VARIABLE` raises it on
/// emulated machines, which are slow.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The environment variable that replaces `DEADLINE`, in seconds.
const DEADLINE_VARIABLE: &str = "HEADLESS_TEST_DEADLINE";

/// `DEADLINE`, or the value that the environment has in its place.
pub(super) fn deadline() -> Duration {
    let seconds = std::env::var(DEADLINE_VARIABLE).ok();
    seconds.map_or(DEADLINE, |seconds| {
        let seconds = seconds.parse();
        let seconds = seconds.unwrap_or_else(|error| panic!("{DEADLINE_VARIABLE}: {error}"));
        Duration::from_secs(seconds)
    })
}

/// Repeats `look` until it succeeds. Panics with its last error after the deadline.
pub fn wait_for<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + deadline();
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) => assert!(Instant::now() < deadline, "timed out: {missing}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
