//! Any frame: no panic, unchanged when it is passed, and a reply that
//! hickory-proto reads when it is answered.
#![no_main]

use headless_tests::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    fuzzed::check(frame);
});
