//! Checks the engine with any DNS message, in a frame with correct headers.
#![no_main]

use headless_tests::frame::Envelope;
use headless_tests::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if message.len() < 1400 {
        fuzzed::check(&Envelope::default().wrap(message));
    }
});
