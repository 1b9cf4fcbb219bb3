//! Slim objects: the fields of a Namespace, Service, EndpointSlice or Pod on which DNS
//! answers depend.
//!
//! Like CoreDNS (`plugin/kubernetes/object`), the source converts an object to its slim
//! form as soon as it arrives ([`super::convert`]). This drops endpoints that are not
//! ready, since no answer depends on them.

use std::net::IpAddr;

use super::endpoints::SliceEndpoints;

/// A namespace that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Where its addresses come from.
    pub kind: ServiceKind,
    /// Its ports; empty where it declares none.
    pub ports: Box<[Port]>,
    /// Whether it has a selector, so that the control plane makes its slices.
    pub selector: bool,
    /// Whether a part of the object that could change an answer was left out. CoreDNS then
    /// has to answer for the Service's names.
    pub partial: bool,
    /// Whether the labels of the Service are selected ([`Keep::labels`](super::Keep::labels)).
    /// A Service that is not selected has no names.
    pub selected: bool,
}

/// Where the addresses of a Service's name come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// The Service's own addresses, at most one of each family.
    ClusterIp(Box<[IpAddr]>),
    /// The addresses of its ready endpoints.
    Headless,
    /// A CNAME to this domain name, in presentation form as written, without the final dot.
    ExternalName(Box<str>),
    /// Nowhere: the external name is an IP address. In a Service that is
    /// [`Service::partial`], it may also be no domain name.
    Unserved,
}

/// A port of a Service or of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where it has none.
    pub name: Box<str>,
    /// Its number. `None` stands for any port, for which there is no SRV record.
    pub number: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, which the API assumes where none is given.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The label in a name, without the underscore.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// The ready endpoints of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its own name.
    pub name: Box<str>,
    /// The name of its Service; empty where the slice names none.
    pub service: Box<str>,
    /// The ports of every endpoint; empty where none are declared.
    pub ports: Box<[Port]>,
    /// One entry for each address of each ready endpoint.
    pub endpoints: SliceEndpoints,
    /// One entry for each domain name that a ready endpoint has in place of an
    /// address.
    pub aliases: Box<[Alias]>,
    /// Whether a part of the object that could change an answer was left out. CoreDNS then
    /// has to answer for the names of the slice's Service.
    pub partial: bool,
    /// Whether the labels of the slice are selected ([`Keep::labels`](super::Keep::labels)).
    /// A slice that is not selected has no names.
    pub selected: bool,
}

/// A domain name that a ready endpoint has in place of an address, as in slices of
/// `addressType: FQDN`. CoreDNS answers with a CNAME record (`HostType` in
/// `plugin/etcd/msg/type.go`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alias {
    /// The domain name, in presentation form as written, without the final dot.
    pub target: Box<str>,
    /// The label of the endpoint. It is empty where the endpoint has no hostname and its
    /// domain name has no dot (CoreDNS, `endpointHostname` in
    /// `plugin/kubernetes/kubernetes.go`).
    pub name: Box<str>,
}

const _: () = assert!(size_of::<Port>() == 24);

/// Most [entries](EndpointSlice::entries) that the slices of one Service have together, and
/// most ports of a Service. CoreDNS answers for the names of a larger one.
///
/// Each change of a slice costs as much as all entries of its Service, about 0.2 µs each. With
/// this bound it is a few milliseconds. Kubernetes supports 5,000 pods behind a Service.
pub const ENTRIES_MAX: usize = 16_384;

impl EndpointSlice {
    /// The size of the slice: its endpoints, domain names and ports, and one for itself.
    pub fn entries(&self) -> usize {
        1 + self.endpoints.len() + self.aliases.len() + self.ports.len()
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its first address, the only one that CoreDNS reads
    /// (`plugin/kubernetes/object/pod.go`). `None` for a pod that has finished or is lost.
    pub address: Option<IpAddr>,
    /// Whether it has been told to end and has not ended yet.
    pub terminating: bool,
}

/// The dashed label of an address or domain name as written (CoreDNS, `endpointHostname` in
/// `plugin/kubernetes/kubernetes.go`). Dots become dashes; in a text without dots, colons
/// do. A label that would end in a dash gets a zero, because no hostname ends in a dash. A
/// text without dots and colons has the empty label.
pub(super) fn dashed(address: &str) -> String {
    if address.contains('.') {
        return address.replace('.', "-");
    }
    if !address.contains(':') {
        return String::new();
    }
    let mut label = address.replace(':', "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

/// The dashed label of an address in its usual spelling (RFC 5952): `10-0-0-22`,
/// `fd00--1`. An endpoint without a name of its own goes by it.
pub fn dashed_address(address: IpAddr) -> String {
    dashed(&address.to_string())
}
