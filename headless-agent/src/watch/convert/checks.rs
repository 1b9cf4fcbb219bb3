//! Checks of the fields of one object, and the problems that they find.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::{Kind, ObjectRef, Port, Problem, Problems, Protocol, Reason};

/// Longest domain name in presentation form without the final dot (RFC 1035, section
/// 2.3.4).
pub(super) const NAME_MAX: usize = 253;

/// Longest label (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// Whether the API accepts the text as a label (RFC 1123, section 2.1): lower-case
/// letters, digits, and hyphens between them.
fn is_api_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether the text is one label that is spelled alike in a message and in presentation
/// form: without dots, and without bytes that miekg/dns escapes (`escapedNameLen` in
/// `msg.go`). CoreDNS compares the escaped label of a question with the object's text, so
/// no question finds an object whose name has such bytes.
fn is_plain_label(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !br#".'@;()"\"#.contains(&byte);
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether each label of the text is an [`is_plain_label`].
pub(super) fn is_plain_name(text: &str) -> bool {
    text.split('.').all(is_plain_label)
}

/// Whether CoreDNS can find an object of this name. It compares the question in lower
/// case with the object's name as written.
pub(super) fn is_found(name: &str) -> bool {
    is_plain_label(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The reason why the text is no domain name; `None` for a domain name.
fn not_a_name(text: &str) -> Option<Reason> {
    if text.is_empty() {
        Some(Reason::MissingField)
    } else if text.len() > NAME_MAX {
        Some(Reason::NameTooLong(text.len()))
    } else if let Some(label) = text.split('.').find(|label| label.len() > LABEL_MAX) {
        Some(Reason::LabelTooLong(label.len()))
    } else if !is_plain_name(text) {
        Some(Reason::InvalidLabel(text.into()))
    } else {
        None
    }
}

/// The object that the metadata belongs to. Without a namespace it is in `default`, as for
/// kubectl.
pub fn reference(kind: Kind, metadata: &ObjectMeta) -> ObjectRef {
    let namespace = match kind {
        Kind::Namespace => "",
        Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::NetworkPolicy | Kind::ConfigMap => {
            metadata.namespace.as_deref().unwrap_or("default")
        }
    };
    ObjectRef {
        kind,
        namespace: namespace.into(),
        name: metadata.name.as_deref().unwrap_or_default().into(),
    }
}

/// Checks the fields of one object and collects the problems.
pub(super) struct Checks<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) problems: &'a mut Problems,
}

impl Checks<'_> {
    /// Reports a problem of a field.
    pub(super) fn report(&mut self, field: impl Into<String>, reason: Reason) {
        self.problems.add(Problem {
            object: self.object.to_string(),
            field: field.into(),
            reason,
        });
    }

    /// Reports a text that the API does not accept as a label. CoreDNS may serve it
    /// nevertheless, see [`is_found`] and [`is_plain_name`].
    pub(super) fn label(&mut self, field: &str, text: &str) {
        let reason = if text.is_empty() {
            Reason::MissingField
        } else if text.len() > LABEL_MAX {
            Reason::LabelTooLong(text.len())
        } else if !is_api_label(text) {
            Reason::InvalidLabel(text.into())
        } else {
            return;
        };
        self.report(field, reason);
    }

    /// Whether CoreDNS can find the object by its namespace and name. Reports each of both
    /// that the API would not accept.
    pub(super) fn names(&mut self) -> bool {
        let ObjectRef {
            namespace, name, ..
        } = self.object;
        self.label("metadata.name", name);
        self.label("metadata.namespace", namespace);
        is_found(name) && is_found(namespace)
    }

    /// The domain name without its final dot. `None`, and a report, for a text that is no
    /// domain name.
    pub(super) fn domain_name(&mut self, field: &str, text: &str) -> Option<Box<str>> {
        let name = text.strip_suffix('.').unwrap_or(text);
        match not_a_name(name) {
            None => Some(name.into()),
            Some(reason) => {
                let reason = match reason {
                    Reason::InvalidLabel(_) => Reason::InvalidLabel(text.into()),
                    other => other,
                };
                self.report(field, reason);
                None
            }
        }
    }

    /// The address. `None`, and a report, for a text that is no address.
    pub(super) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let parsed = text.parse::<IpAddr>().ok();
        if parsed.is_none() {
            self.report(field, Reason::InvalidAddress(text.into()));
        }
        parsed.map(|address| address.to_canonical())
    }

    /// The protocol. TCP is the API server's default. `None`, and a report, for an unknown
    /// protocol.
    pub(super) fn protocol(&mut self, field: &str, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP" | "") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.report(field, Reason::UnknownProtocol(other.into()));
                None
            }
        }
    }

    /// The port number that CoreDNS answers with: the lower 16 bits, and `None` for -1, for
    /// which it makes no SRV record (`SRV` in `plugin/backend_lookup.go`). Reports a number
    /// that no port can have.
    pub(super) fn port_number(&mut self, field: &str, number: i32) -> Option<u16> {
        if !(1..=65_535).contains(&number) {
            self.report(field, Reason::InvalidPort(number));
        }
        (number != -1).then_some(number.cast_unsigned() as u16)
    }

    /// Reports a port whose name and protocol repeat those of an earlier port. With
    /// `numbers`, also a port whose number and protocol repeat. `ports` holds each port with
    /// its place in the object. CoreDNS serves repeated ports, too.
    pub(super) fn duplicates(&mut self, field: &str, ports: &[(usize, Port)], numbers: bool) {
        let mut names = HashSet::new();
        let mut seen = HashSet::new();
        for (i, port) in ports {
            let by_name = !names.insert((&port.name, port.protocol));
            let by_number = numbers && !seen.insert((port.number, port.protocol));
            if by_name || by_number {
                let shown = match (port.name.is_empty(), port.number) {
                    (false, _) => port.name.to_string(),
                    (true, Some(number)) => number.to_string(),
                    (true, None) => "without a number".to_owned(),
                };
                self.report(format!("{field}[{i}]"), Reason::DuplicatePort(shown.into()));
            }
        }
    }
}
