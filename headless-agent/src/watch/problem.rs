//! Problems of objects, as values that can be counted and printed.

use std::fmt;

/// A part of an object that cannot be served. The rest of the object is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{object}{}: {reason}", Field(.field))]
pub struct Problem {
    /// The object, for example `EndpointSlice default/web-abc`. In front of it, or in its
    /// place where the object is unknown, stand file and document of a manifest.
    pub object: String,
    /// The field, for example `endpoints[2].addresses[0]`. Empty where the problem is not
    /// about a field.
    pub field: String,
    /// The problem.
    pub reason: Reason,
}

/// Prints `: ` and the field, unless it is empty.
struct Field<'a>(&'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Not an IPv4 or IPv6 address.
    #[error("`{0}` is not an IP address")]
    InvalidAddress(String),
    /// An address type that the API does not have. The addresses are served nevertheless:
    /// their text tells addresses from domain names.
    #[error("unknown address type `{0}`")]
    UnknownAddressType(String),
    /// A text that the API does not accept as a label (RFC 1123, section 2.1).
    #[error("`{0}` is not a DNS label")]
    InvalidLabel(String),
    /// A label of more than 63 bytes (RFC 1035, section 2.3.4).
    #[error("label of {0} bytes, which is more than 63")]
    LabelTooLong(usize),
    /// A domain name of more than 253 characters (RFC 1035, section 2.3.4).
    #[error("name of {0} characters, which is more than 253")]
    NameTooLong(usize),
    /// Two ports with the same name and protocol, or the same number and
    /// protocol.
    #[error("port {0} appears twice")]
    DuplicatePort(String),
    /// Not a port number.
    #[error("{0} is not a port number")]
    InvalidPort(i32),
    /// A protocol other than TCP, UDP and SCTP.
    #[error("unknown protocol `{0}`")]
    UnknownProtocol(String),
    /// A Service type other than the four of the API.
    #[error("unknown type `{0}`")]
    UnknownServiceType(String),
    /// A Service that is not headless and has no address.
    #[error("no cluster IP")]
    MissingClusterIp,
    /// An external name that is an address, to which no CNAME record can lead.
    #[error("`{0}` is an address, not a name")]
    ExternalNameIsAddress(String),
    /// An EndpointSlice without the label that names its Service.
    #[error("missing or empty, so the slice belongs to no Service")]
    MissingServiceLabel,
    /// An EndpointSlice whose Service does not exist.
    #[error("Service {0} does not exist")]
    MissingService(String),
    /// An object whose Namespace object does not exist.
    #[error("Namespace {0} does not exist")]
    MissingNamespace(String),
    /// A Service or slice of more entries than the agent merges
    /// ([`ENTRIES_MAX`](super::ENTRIES_MAX)).
    #[error("{0} endpoints, ports and slices, which is too many: the cluster's DNS answers")]
    TooManyEntries(usize),
    /// A required field that is missing or empty.
    #[error("missing")]
    MissingField,
    /// An object that is in two documents. The later document is used.
    #[error("also defined in {0}; the later one is used")]
    DuplicateObject(String),
    /// An unknown version of a known kind.
    #[error("version `{0}` of this kind is not supported")]
    UnsupportedVersion(String),
    /// A field with a value of the wrong type.
    #[error("{0}")]
    InvalidField(String),
    /// A file that is not YAML or JSON.
    #[error("{0}")]
    Syntax(String),
    /// A file that cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(String),
    /// A document of a size that is not read.
    #[error("{0}, so the document is not read")]
    TooLarge(String),
    /// Problems that were counted, and left out.
    #[error("{0} more problems")]
    MoreProblems(usize),
}

impl Reason {
    /// The label in metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::InvalidAddress(_) => "invalid_address",
            Self::UnknownAddressType(_) => "unknown_address_type",
            Self::InvalidLabel(_) => "invalid_label",
            Self::LabelTooLong(_) => "label_too_long",
            Self::NameTooLong(_) => "name_too_long",
            Self::DuplicatePort(_) => "duplicate_port",
            Self::InvalidPort(_) => "invalid_port",
            Self::UnknownProtocol(_) => "unknown_protocol",
            Self::UnknownServiceType(_) => "unknown_service_type",
            Self::MissingClusterIp => "missing_cluster_ip",
            Self::ExternalNameIsAddress(_) => "external_name_is_address",
            Self::MissingServiceLabel => "missing_service_label",
            Self::MissingService(_) => "missing_service",
            Self::MissingNamespace(_) => "missing_namespace",
            Self::TooManyEntries(_) => "too_many_entries",
            Self::MissingField => "missing_field",
            Self::DuplicateObject(_) => "duplicate_object",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::InvalidField(_) => "invalid_field",
            Self::Syntax(_) => "syntax",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge(_) => "too_large",
            Self::MoreProblems(_) => "more_problems",
        }
    }

    /// Every label, so that counters can start at zero.
    pub const LABELS: [&'static str; 23] = [
        "invalid_address",
        "unknown_address_type",
        "invalid_label",
        "label_too_long",
        "name_too_long",
        "duplicate_port",
        "invalid_port",
        "unknown_protocol",
        "unknown_service_type",
        "missing_cluster_ip",
        "external_name_is_address",
        "missing_service_label",
        "missing_service",
        "missing_namespace",
        "too_many_entries",
        "missing_field",
        "duplicate_object",
        "unsupported_version",
        "invalid_field",
        "syntax",
        "unreadable",
        "too_large",
        "more_problems",
    ];
}
