//! Two replies side by side.

use super::message::{Decoded, Line};

/// What differs between CoreDNS's reply and ours; `None` where nothing does.
/// Records are compared as multisets, since their order is random on both
/// sides. `full` gives CoreDNS's whole reply where only a part of it fits.
pub fn difference(
    theirs: &Decoded,
    ours: &Decoded,
    full: impl FnOnce() -> anyhow::Result<Decoded>,
) -> Option<String> {
    if theirs.flags != ours.flags {
        return Some(format!(
            "flags {:#06x} and {:#06x}",
            theirs.flags, ours.flags
        ));
    }
    if theirs.question != ours.question {
        return Some("question".into());
    }
    if theirs.opt != ours.opt {
        return Some(format!("OPT {:?} and {:?}", theirs.opt, ours.opt));
    }
    if theirs.truncated() {
        return match full() {
            Ok(full) => part(theirs, ours, &full),
            Err(error) => Some(format!("the whole cannot be had: {error:#}")),
        };
    }
    for (name, (theirs, ours)) in ["answer", "authority", "additional"]
        .iter()
        .zip(theirs.sections.iter().zip(&ours.sections))
    {
        if theirs != ours {
            let only = |a: &[Line], b: &[Line]| -> Vec<String> {
                let lines = a.iter().filter(|line| !b.contains(line));
                lines
                    .map(|line| format!("{} {}", line.owner, line.rest))
                    .collect()
            };
            return Some(format!(
                "{name}: {} records and {}; only theirs {:?}, only ours {:?}",
                theirs.len(),
                ours.len(),
                only(theirs, ours),
                only(ours, theirs),
            ));
        }
    }
    None
}

/// What differs between two parts of a reply that is too long: both must hold as
/// many records, each of them one of the whole.
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
            // Too long for TCP too: then nobody has the whole.
            let mut left = if whole { full.clone() } else { part.clone() };
            for line in part {
                let Some(at) = left.iter().position(|other| other == line) else {
                    return Some(format!(
                        "{who} has a record that the whole has not: {line:?}"
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
    // Records of one length fit in the same number, whichever they are. Of
    // others it depends on which come first; then each part must be as long as
    // it can be.
    let mut lengths: Vec<_> = full
        .sections
        .iter()
        .flatten()
        .map(|line| (line.owner.len(), line.rest.len()))
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    // As text a record is longer than as bytes.
    let longest = lengths.iter().map(|(owner, rest)| owner + rest).max();
    let limit = theirs.opt.as_ref().map_or(0, |opt| opt.size).max(512);
    let is_long = |part: &Decoded| part.len + longest.unwrap_or(0) > usize::from(limit);
    if lengths.len() > 1 && is_long(theirs) && is_long(ours) {
        return None;
    }
    Some(format!(
        "{theirs_count} and {ours_count} records of the whole"
    ))
}
