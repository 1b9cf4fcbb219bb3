//! Ports by the labels of a question: `_http._tcp`.

use crate::watch::Port;

/// The name and protocol that a question gives. An empty text matches any.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PortFilter<'a> {
    name: &'a str,
    protocol: &'a str,
}

impl<'a> PortFilter<'a> {
    /// The filter that any port matches.
    pub(super) const ANY: PortFilter<'static> = PortFilter {
        name: "",
        protocol: "",
    };

    /// The filter of two labels. CoreDNS takes off one underscore, if there is one
    /// (`stripUnderscore` in `plugin/kubernetes/parse.go`).
    pub(super) fn from_labels(name: &'a str, protocol: &'a str) -> Self {
        let bare = |label: &'a str| label.strip_prefix('_').unwrap_or(label);
        Self {
            name: bare(name),
            protocol: bare(protocol),
        }
    }

    /// Whether a port matches (CoreDNS, `matchPortAndProtocol` in
    /// `plugin/kubernetes/kubernetes.go`).
    fn matches(self, name: &str, protocol: &str) -> bool {
        let matches = |wanted: &str, is: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(is);
        matches(self.name, name) && matches(self.protocol, protocol)
    }

    /// The numbers of the matching ports. As in CoreDNS, an object that declares no port
    /// has one without name, protocol and number, so that its addresses are found.
    pub(super) fn numbers(self, ports: &[Port]) -> impl Iterator<Item = Option<u16>> {
        let undeclared = ports.is_empty() && self.matches("", "");
        ports
            .iter()
            .filter(move |port| self.matches(&port.name, port.protocol.label()))
            .map(|port| port.number)
            .chain(undeclared.then_some(None))
    }
}
