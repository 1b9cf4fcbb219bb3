//! The fuzzers' corpus without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use headless_tests::frame::{Envelope, HEADERS_LEN};
use headless_tests::fuzzed;

#[test]
fn corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/respond");
    let mut frames = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let frame = fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        fuzzed::check(&frame);
        if let Some(message) = frame.get(HEADERS_LEN..) {
            fuzzed::check(&Envelope::default().wrap(message));
        }
        frames += 1;
    }
    assert!(frames >= 20, "{frames} frames");
}
