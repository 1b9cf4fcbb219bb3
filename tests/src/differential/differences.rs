//! The differences that are allowed: `differences.md` says why, this tells
//! them apart from all others.

use std::collections::BTreeSet;

use super::message::{self, Decoded, Labels};

/// The list with the reasons.
#[cfg(test)]
const LIST: &str = include_str!("../../differences.md");

/// What a difference is about.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The query as it was sent.
    pub query: &'a [u8],
    /// CoreDNS's reply, where there is one that can be read.
    pub theirs: Option<&'a Decoded>,
    /// Ours.
    pub ours: Option<&'a Decoded>,
    /// Reverse names, in lower case, of addresses that some object spells
    /// otherwise than RFC 5952 has it.
    pub misspelled: &'a BTreeSet<Labels>,
    /// Reverse names of addresses in slices that do not say whose they are.
    pub nameless: &'a BTreeSet<Labels>,
    /// Whether ours is the agent's, which keeps its own clock.
    pub agent: bool,
}

/// A difference that is allowed.
struct Difference {
    /// The heading in the list.
    name: &'static str,
    /// Whether it is this one.
    is: fn(&Case<'_>) -> bool,
}

/// CoreDNS receives into 512 bytes (miekg/dns, `MinMsgSize`).
const RECEIVED_MAX: usize = 512;

/// RCODE of a message that was not understood (RFC 1035, section 4.1.1).
const FORMERR: u16 = 1;

/// Which word of a SOA record's text is the serial, after TTL, class, type and
/// two names.
const SERIAL: usize = 5;

/// All of them.
const ALLOWED: [Difference; 6] = [
    Difference {
        name: "long-query",
        is: |case| case.query.len() > RECEIVED_MAX,
    },
    Difference {
        name: "record-in-query",
        is: |case| {
            let theirs = case.theirs.map(Decoded::rcode);
            theirs == Some(FORMERR) && message::has_other_record(case.query)
        },
    },
    Difference {
        name: "no-cluster-ip",
        is: |case| {
            let answers = case.theirs.iter().flat_map(|theirs| &theirs.sections[0]);
            answers
                .into_iter()
                .any(|line| line.rest.ends_with(" IN CNAME ."))
        },
    },
    Difference {
        name: "address-spelling",
        is: |case| is_below(case, case.misspelled),
    },
    Difference {
        name: "nameless-slice",
        is: |case| case.theirs.is_none() && is_below(case, case.nameless),
    },
    Difference {
        name: "serial",
        is: |case| case.agent && case.theirs.map(without_serial) == case.ours.map(without_serial),
    },
];

/// Whether the name that is asked for, or an end of it, is one of these.
fn is_below(case: &Case<'_>, names: &BTreeSet<Labels>) -> bool {
    let question = case.query.get(12..).and_then(Labels::from_wire);
    question.is_some_and(|name| name.ends_in(names))
}

/// The reply with the SOA's serial and what depends on its length left out.
fn without_serial(reply: &Decoded) -> Decoded {
    let mut reply = reply.clone();
    for line in reply.sections.iter_mut().flatten() {
        if line.rest.contains(" IN SOA ") {
            let fields = line.rest.split(' ').enumerate();
            let fields = fields.filter_map(|(i, field)| (i != SERIAL).then_some(field));
            line.rest = fields.collect::<Vec<_>>().join(" ");
        }
    }
    reply.len = 0;
    reply
}

/// The name of the allowed difference that this is.
pub fn allowed(case: &Case<'_>) -> Option<&'static str> {
    let difference = ALLOWED.iter().find(|difference| (difference.is)(case))?;
    Some(difference.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_list_and_nothing_else_is() {
        let listed: Vec<&str> = LIST
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let known: Vec<&str> = ALLOWED.iter().map(|difference| difference.name).collect();
        assert_eq!(listed, known);
    }
}
