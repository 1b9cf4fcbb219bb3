//! The reasons for which a packet passes, in an operator's words.

use headless_ebpf::abi::PassReason;

/// The meaning of a reason and the operator's next step. `None` if this program does not know
/// the label, because the agent is newer.
pub(super) fn of_label(label: &str) -> Option<&'static str> {
    let mut reasons = PassReason::ALL.iter();
    reasons
        .find(|reason| reason.label() == label)
        .map(|reason| of(*reason))
}

/// See [`of_label`].
fn of(reason: PassReason) -> &'static str {
    match reason {
        PassReason::NotDns => "Other traffic, which is not counted.",
        PassReason::AgentStale => {
            "The agent had sent no heartbeat for longer than --lease, or had just started. If the \
             number grows while the agent runs, look for a starved or stuck agent."
        }
        PassReason::IpHeader => {
            "A packet to a served address that may be a query, but is a fragment, has IPv4 options, \
             IPv6 extension headers, or a damaged IP header. Clients do not send these for DNS."
        }
        PassReason::Length => {
            "The lengths of IP and UDP contradict each other, or the sender joined several \
             datagrams into one buffer."
        }
        PassReason::TooLong => "The query is longer than the programs read.",
        PassReason::Response => "A DNS response, not a query: the pod is a DNS server.",
        PassReason::Opcode => "An update, a notify or another operation than QUERY.",
        PassReason::Truncated => "The query itself says that it is truncated.",
        PassReason::Counts => "The query has not exactly one question, or carries records.",
        PassReason::Class => {
            "Another class than IN, and no Corefile lets CoreDNS answer such a question."
        }
        PassReason::Name => "The name in the question is malformed.",
        PassReason::Trailing => "The question is followed by something else than an OPT record.",
        PassReason::Edns => {
            "The record behind the question is no OPT record, or its length is wrong."
        }
        PassReason::EdnsVersion => "Another EDNS version than 0.",
        PassReason::EdnsCount => "More than four EDNS options.",
        PassReason::EdnsLength => {
            "More than 64 bytes of EDNS options, such as a query that is padded for encryption."
        }
        PassReason::EdnsOption => {
            "An EDNS option that CoreDNS refuses as malformed, or a report channel."
        }
        PassReason::EdnsSubnet => {
            "An EDNS client subnet that CoreDNS refuses as malformed. Look at the forwarder that \
             adds it."
        }
        PassReason::OutsideZone => {
            "The name is not in the cluster's zone, such as a name of the Internet. Clients with \
             a search list ask for it below the zone first."
        }
        PassReason::Qtype => "The agent or the cluster's DNS answers questions of this type.",
        PassReason::Userspace => {
            "The agent or the cluster's DNS answers for this name: it leads out of the cluster, \
             is a reverse name that the kernel does not know to be complete, or its Service \
             yields or is too large. `headless-agent dump NAME` shows the flag `pass`."
        }
        PassReason::Incomplete => {
            "The name is not in the maps, and the maps are not complete: the agent has not read \
             the whole cluster, the API server is silent, or names could not be written. The \
             problems say which."
        }
        PassReason::Changed => "The agent was writing over a name while the query was looked up.",
        PassReason::TooLarge => {
            "The reply has more bytes than the interface's MTU or 4096. Userspace can fragment."
        }
        PassReason::NoRoom => "The kernel did not let the packet grow to the size of the reply.",
        PassReason::Map => "A map of the agent is missing. This is a fault: please report it.",
        PassReason::NotServed => {
            "A query to a server that is not among the served addresses, such as a pod that asks \
             another resolver."
        }
        PassReason::Lost => {
            "The program damaged a packet and dropped it. This is a fault: please report it."
        }
        PassReason::Busy => {
            "The CPU was answering another packet, which happens on kernels with PREEMPT_RT only."
        }
        PassReason::Tcp => {
            "A TCP connection to a served address began. Clients ask by TCP after a truncated \
             reply, or because they are told to. The table of interfaces says where."
        }
        PassReason::Corefile => {
            "CoreDNS may answer otherwise, by what its Corefile says. The problems name the line."
        }
        PassReason::Observed => {
            "The program would have answered, but the pod is only observed (mode `observe`)."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_sentences() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in PassReason::ALL {
            let text = of_label(reason.label()).unwrap_or_default();
            assert!(text.ends_with('.') && seen.insert(text), "{reason:?}");
        }
        assert_eq!(of_label("no_such_reason"), None);
    }
}
