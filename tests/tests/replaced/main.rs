//! Names are replaced while the programs read them. Each answer must be one whole version of
//! the name, never a mixture, and never a wrong denial.
//!
//! Elements of maps are used again, so a reader may find another name in an element. In a
//! hash map an update links the new element first and then frees the old one. The next
//! update on the same CPU gets the freed element (kernel commit `fba1a1c6c912`). So two
//! names that are written in turns swap their elements. Slots and chunks of our own arrays
//! are used again in the same way.
//!
//! A reader takes nanoseconds between finding an element and reading it, and a write takes
//! longer. Only an interrupt on the reader's CPU makes the reader slow enough, as on a node.
//! So the tests wake a thread on each reader's CPU every few microseconds.
//!
//! The agent's writer is too slow for this race. So it first writes to maps in memory. The
//! tests record what each change stores ([`store::Store`]) and then store the same in the
//! kernel's maps, again and again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod names;
mod race;
mod replies;
mod store;

use headless_tests::frame::qtype;

use self::names::{NAMES, Place, Turn, VERSIONS, endpoints, few, implied, many};
use self::race::race;
use self::replies::Answers;

/// Every version of every name has been seen in an answer.
fn all_versions(answers: &Answers) {
    for number in 0..NAMES as u32 {
        for version in 0..VERSIONS {
            let times = answers.get(&(number, Some(version)));
            assert!(times.is_some(), "s{number} {version}: {answers:?}");
        }
    }
}

fn not_denied(answers: &Answers) {
    let denied: u64 = answers
        .iter()
        .filter_map(|((_, version), times)| version.is_none().then_some(times))
        .sum();
    assert_eq!(denied, 0, "{answers:?}");
    all_versions(answers);
}

/// The names always exist, so a query passes as changed only if a seal is broken.
#[test]
fn records() {
    all_versions(&race(Place::Map, Turn::Replace, few, qtype::A, 1));
}

#[test]
fn records_that_are_deleted_first() {
    all_versions(&race(Place::Map, Turn::DeleteFirst, few, qtype::A, 0));
}

/// The set of an old record is freed, and its chunk may belong to another set.
#[test]
fn sets() {
    all_versions(&race(Place::Map, Turn::Replace, many, qtype::A, 20));
}

#[test]
fn endpoints_of_srv_records() {
    all_versions(&race(Place::Map, Turn::Replace, endpoints, qtype::SRV, 20));
}

/// The targets follow from the addresses, which are in chunks of the same set.
#[test]
fn implied_endpoints_of_srv_records() {
    all_versions(&race(Place::Table, Turn::Replace, implied, qtype::SRV, 20));
}

/// A reader has found a name's element, and the element gets another name before the reader
/// compares the keys. The reader then misses its name, also if the new element stands earlier
/// in the bucket: `lookup_nulls_elem_raw` only notices an element that has moved to another
/// bucket. So the programs deny a name only if no name was written during the look-up
/// (`State::denies_since`). Without this check about ten answers in a million are denials.
#[test]
fn a_name_that_is_replaced_is_not_denied() {
    not_denied(&race(Place::Map, Turn::Marked, few, qtype::A, 3));
}

/// A slot of the table gets another name while a reader is on its way to it.
#[test]
fn a_name_in_the_table_is_not_denied() {
    not_denied(&race(Place::Table, Turn::Marked, few, qtype::A, 3));
}

/// A slot is overwritten while a reader copies it.
#[test]
fn records_in_a_table_without_room() {
    all_versions(&race(Place::FullTable, Turn::Replace, few, qtype::A, 20));
}

#[test]
fn sets_of_names_in_the_table() {
    all_versions(&race(Place::Table, Turn::Replace, many, qtype::A, 20));
}
