//! Compares two replies.

use super::message::{Decoded, TextRecord};

/// Describes the first difference between CoreDNS's reply and ours; `None` if the two are
/// alike. Records are compared as multisets, because both sides put them into a random
/// order. `full` returns CoreDNS's whole reply, for replies that are truncated.
pub fn difference(
    theirs: &Decoded,
    ours: &Decoded,
    full: impl FnOnce() -> anyhow::Result<Decoded>,
) -> Option<String> {
    if theirs.flags != ours.flags {
        return Some(format!(
            "flags: CoreDNS {:#06x}, headless {:#06x}",
            theirs.flags, ours.flags
        ));
    }
    if theirs.question != ours.question {
        return Some("the question sections differ".into());
    }
    if theirs.opt != ours.opt {
        return Some(format!(
            "OPT: CoreDNS {:?}, headless {:?}",
            theirs.opt, ours.opt
        ));
    }
    if theirs.truncated() {
        return match full() {
            Ok(full) => part(theirs, ours, &full),
            Err(error) => Some(format!("no whole reply over TCP: {error:#}")),
        };
    }
    for (name, (theirs, ours)) in ["answer", "authority", "additional"]
        .iter()
        .zip(theirs.sections.iter().zip(&ours.sections))
    {
        if theirs != ours {
            let only = |a: &[TextRecord], b: &[TextRecord]| -> Vec<String> {
                let records = a.iter().filter(|record| !b.contains(record));
                records
                    .map(|record| format!("{} {}", record.owner, record.rest))
                    .collect()
            };
            return Some(format!(
                "{name}: CoreDNS has {} records, headless {}; only CoreDNS {:?}, only headless {:?}",
                theirs.len(),
                ours.len(),
                only(theirs, ours),
                only(ours, theirs),
            ));
        }
    }
    None
}

/// Describes the difference between two truncated replies; `None` if both have the same
/// number of records and every record is in the whole reply.
fn part(theirs: &Decoded, ours: &Decoded, full: &Decoded) -> Option<String> {
    let whole = !full.truncated();
    let sections = theirs
        .sections
        .iter()
        .zip(&ours.sections)
        .zip(&full.sections);
    let mut counts = [0, 0];
    for ((theirs, ours), full) in sections {
        for (who, part) in [("CoreDNS", theirs), ("headless", ours)] {
            // A reply that is too long for TCP too is whole nowhere. Then nothing is
            // known of the records, and the part is compared with itself.
            let mut left = if whole { full.clone() } else { part.clone() };
            for record in part {
                let Some(at) = left.iter().position(|other| other == record) else {
                    return Some(format!(
                        "{who} has a record that the whole reply has not: {record:?}"
                    ));
                };
                left.swap_remove(at);
            }
        }
        counts[0] += theirs.len();
        counts[1] += ours.len();
    }
    let [theirs_count, ours_count] = counts;
    if theirs_count == ours_count {
        return None;
    }
    // If all records have the same length, both parts must have the same number. If
    // lengths differ, the number depends on the random order. Then the only rule is that
    // no further record fits into either part.
    let mut lengths: Vec<_> = full
        .sections
        .iter()
        .flatten()
        .map(|record| (record.owner.len(), record.rest.len()))
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    // The text is longer than the wire form, so this is an upper bound.
    let longest = lengths.iter().map(|(owner, rest)| owner + rest).max();
    let limit = theirs.opt.as_ref().map_or(0, |opt| opt.size).max(512);
    let is_long = |part: &Decoded| part.len + longest.unwrap_or(0) > usize::from(limit);
    if lengths.len() > 1 && is_long(theirs) && is_long(ours) {
        return None;
    }
    Some(format!(
        "truncated: CoreDNS has {theirs_count} records, headless {ours_count}"
    ))
}
