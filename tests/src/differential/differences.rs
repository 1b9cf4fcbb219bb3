//! Recognises the differences that are allowed. `tests/differences.md` lists them with
//! reasons.

use std::collections::BTreeSet;

use headless_ebpf::wire::dns::rcode::FORMERR;

use super::message::{self, Decoded, DnsName};

/// The list with the reasons.
#[cfg(test)]
const LIST: &str = include_str!("../../differences.md");

/// A difference between CoreDNS and headless, with its circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The query as it was sent.
    pub query: &'a [u8],
    /// CoreDNS's reply; `None` if CoreDNS did not reply.
    pub theirs: Option<&'a Decoded>,
    /// The reply of headless; `None` if headless passed the query, or if its reply cannot
    /// be read.
    pub ours: Option<&'a Decoded>,
    /// The names that explain some differences.
    pub exceptions: &'a Exceptions,
    /// Whether the reply is the agent's. The agent takes SOA serials from its own clock.
    pub agent: bool,
}

/// Reverse names, in lower case, for which CoreDNS is known to differ.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    /// Of endpoint addresses that some object spells in another way than RFC 5952.
    pub unusual_spelling: BTreeSet<DnsName>,
    /// Of endpoint addresses in EndpointSlices without the label of their Service.
    pub without_service: BTreeSet<DnsName>,
}

/// A difference that is allowed.
struct AllowedDifference {
    /// The heading in `tests/differences.md`.
    name: &'static str,
    /// Whether a finding is this difference.
    explains: fn(&Finding<'_>) -> bool,
}

/// Size in bytes of CoreDNS's receive buffer for UDP (miekg/dns, `MinMsgSize`).
const RECEIVED_MAX: usize = 512;

/// Position of the serial in the text of a SOA record: it follows TTL, class, type and
/// two names.
pub(super) const SERIAL: usize = 5;

/// All allowed differences, in the order of `tests/differences.md`.
const ALLOWED: [AllowedDifference; 6] = [
    AllowedDifference {
        name: "long-query",
        explains: |finding| finding.query.len() > RECEIVED_MAX,
    },
    AllowedDifference {
        name: "record-in-query",
        explains: |finding| {
            let theirs = finding.theirs.map(Decoded::rcode);
            theirs == Some(FORMERR) && message::has_other_record(finding.query)
        },
    },
    AllowedDifference {
        name: "no-cluster-ip",
        explains: |finding| {
            let answers = finding.theirs.iter().flat_map(|theirs| &theirs.sections[0]);
            answers
                .into_iter()
                .any(|record| record.rest.ends_with(" IN CNAME ."))
        },
    },
    AllowedDifference {
        name: "address-spelling",
        explains: |finding| asks_below(finding.query, &finding.exceptions.unusual_spelling),
    },
    AllowedDifference {
        name: "slice-without-service",
        explains: |finding| {
            finding.theirs.is_none()
                && asks_below(finding.query, &finding.exceptions.without_service)
        },
    },
    AllowedDifference {
        name: "serial",
        explains: |finding| {
            finding.agent && finding.theirs.map(without_serial) == finding.ours.map(without_serial)
        },
    },
];

/// Whether a query asks for a name at or below one of `names`.
pub fn asks_below(query: &[u8], names: &BTreeSet<DnsName>) -> bool {
    let name = query.get(12..).and_then(DnsName::from_wire);
    name.is_some_and(|name| name.is_below(names))
}

/// The reply without the SOA's serial, and without the length, which depends on the
/// serial's digits.
fn without_serial(reply: &Decoded) -> Decoded {
    let mut reply = reply.clone();
    for record in reply.sections.iter_mut().flatten() {
        if record.rest.contains(" IN SOA ") {
            let fields = record.rest.split(' ').enumerate();
            let fields = fields.filter_map(|(i, field)| (i != SERIAL).then_some(field));
            record.rest = fields.collect::<Vec<_>>().join(" ");
        }
    }
    reply.len = 0;
    reply
}

/// The name of the allowed difference that explains a finding, if there is one.
pub fn allowed(finding: &Finding<'_>) -> Option<&'static str> {
    let mut allowed = ALLOWED.iter();
    let difference = allowed.find(|difference| (difference.explains)(finding))?;
    Some(difference.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reasons_has_exactly_the_allowed_differences() {
        let listed: Vec<&str> = LIST
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let known: Vec<&str> = ALLOWED.iter().map(|difference| difference.name).collect();
        assert_eq!(listed, known);
    }
}
