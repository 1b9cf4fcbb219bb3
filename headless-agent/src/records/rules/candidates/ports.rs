//! Ports by the labels of a question: `_http._tcp`.

use std::collections::HashSet;

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

    /// The matching ports. As in CoreDNS, an object that declares no port has one without
    /// name, protocol and number, so that its addresses are found.
    pub(super) fn select(self, ports: &[Port]) -> Selected {
        let mut selected = Selected::default();
        if ports.is_empty() && self.matches("", "") {
            selected.count = 1;
        }
        let mut seen = HashSet::new();
        for port in ports {
            if self.matches(&port.name, port.protocol.label()) {
                selected.count += 1;
                let new = port.number.filter(|number| seen.insert(*number));
                selected.numbers.extend(new);
            }
        }
        selected
    }
}

/// The ports of an object that a question asks for.
#[derive(Debug, Default)]
pub(in crate::records::rules) struct Selected {
    /// How many there are.
    pub(in crate::records::rules) count: usize,
    /// Their numbers, each once. A port without a number has no SRV record.
    pub(in crate::records::rules) numbers: Vec<u16>,
}

impl Selected {
    /// The port of an object that has none: it counts, and has no number.
    pub(super) const NONE: Self = Self {
        count: 1,
        numbers: Vec::new(),
    };

    /// This many ports with one number.
    pub(super) fn one(number: u16, count: usize) -> Self {
        Self {
            count,
            numbers: vec![number],
        }
    }
}
