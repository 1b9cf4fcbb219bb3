//! The fuzzers' corpus and checks without a fuzzer, so that `cargo test` runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use fastrand::Rng;
use headless_tests::frame::{Envelope, HEADERS_LEN};
use headless_tests::{fuzzed, golden};

/// Number of mutated frames. Checking them takes some seconds.
const MUTATED: usize = 20_000;

/// Mutates a frame one to four times, as fuzzers do: flips a bit, sets a byte to a value
/// with a meaning in DNS or IP, removes or doubles a piece, or appends the end of another
/// frame.
fn mutated(frames: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    const MEANINGFUL: [u8; 12] = [0, 1, 3, 8, 12, 28, 33, 41, 63, 64, 0xc0, 0xff];
    let mut frame = frames[rng.usize(..frames.len())].clone();
    for _ in 0..rng.usize(1..5) {
        if frame.is_empty() {
            break;
        }
        let at = rng.usize(..frame.len());
        let piece = at..(at + rng.usize(1..24)).min(frame.len());
        match rng.u8(..8) {
            0 => frame[at] ^= 1 << rng.u8(..8),
            1 => frame[at] = MEANINGFUL[rng.usize(..MEANINGFUL.len())],
            2 => frame[at] = frame[at].wrapping_add(1),
            3 => frame[at] = frame[at].wrapping_sub(1),
            4 => frame.truncate(at),
            5 => drop(frame.drain(piece)),
            6 => {
                let double = frame[piece.clone()].to_vec();
                frame.splice(piece.end..piece.end, double);
            }
            _ => {
                let other = &frames[rng.usize(..frames.len())];
                let from = at.min(other.len());
                frame.splice(at.., other[from..].iter().copied());
            }
        }
    }
    frame
}

/// Checks mutated golden frames, without a fuzzer's feedback on coverage. The seed is new
/// in each run; `HEADLESS_SEED` repeats the run that printed it.
#[test]
fn mutated_golden_frames_keep_the_properties() {
    let frames: Vec<_> = golden::cases().iter().map(golden::Case::input).collect();
    let seed = std::env::var("HEADLESS_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("HEADLESS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut answered = 0;
    for _ in 0..MUTATED {
        let frame = mutated(&frames, &mut rng);
        answered += u32::from(fuzzed::check(&frame));
        if let Some(message) = frame.get(HEADERS_LEN..) {
            // Repaired headers, so that more mutations reach the DNS parser.
            answered += u32::from(fuzzed::check(&Envelope::default().wrap(message)));
        }
    }
    assert!(answered > 1000, "{answered} answered");
}

#[test]
fn the_corpus_keeps_the_properties() {
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
