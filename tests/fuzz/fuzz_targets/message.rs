//! Any message in a frame whose headers are right.
#![no_main]

use headless_tests::frame::Envelope;
use headless_tests::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if message.len() < 1400 {
        fuzzed::check(&Envelope::default().wrap(message));
    }
});
