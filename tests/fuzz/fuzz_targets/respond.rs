//! Checks the engine with any frame.
#![no_main]

use headless_tests::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    fuzzed::check(frame);
});
