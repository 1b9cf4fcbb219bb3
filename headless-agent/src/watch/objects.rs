//! Slim objects: the fields of a Service, EndpointSlice, Namespace or Pod that
//! decide a DNS answer, and nothing else.
//!
//! As CoreDNS does (`plugin/kubernetes/object`), objects are cut down as soon as
//! they arrive ([`super::convert`]), and endpoints that are not ready are dropped
//! on the way: no DNS answer depends on them.

use std::net::IpAddr;

/// What of an object is worth its memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Name endpoints without a hostname after their pod rather than after
    /// their address: CoreDNS's `endpoint_pod_names`.
    pub pod_names: bool,
}

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
    /// What its name resolves to.
    pub kind: ServiceKind,
    /// Its ports; empty where it declares none.
    pub ports: Box<[Port]>,
    /// Whether it has a selector, hence slices made by the control plane.
    pub selector: bool,
    /// Whether a part of the object that decides answers could not be read. Nothing
    /// is known for certain about such a Service, so nobody may deny its names.
    pub partial: bool,
}

/// What a Service's name resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Its own addresses, at most one of each family.
    ClusterIp(Box<[IpAddr]>),
    /// The addresses of its ready endpoints.
    Headless,
    /// Another name, in presentation form as written, without the final dot.
    ExternalName(Box<str>),
    /// Nothing: an external name that is an address, or, in a Service marked
    /// [`Service::partial`], one that is no domain name.
    Unserved,
}

/// A port of a Service or of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where it has none.
    pub name: Box<str>,
    /// Its number; `None` means any, which has no SRV record.
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
    /// As it stands in a name, without the underscore.
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
    /// The Service it belongs to; empty where it does not say.
    pub service: Box<str>,
    /// The ports of every endpoint; empty where none are declared.
    pub ports: Box<[Port]>,
    /// One entry for each address of each ready endpoint.
    pub endpoints: Box<[Endpoint]>,
    /// One entry for each domain name that a ready endpoint has in place of an
    /// address.
    pub aliases: Box<[Alias]>,
    /// Whether a part of the object that decides answers could not be read. Nobody
    /// may then deny a name of its Service.
    pub partial: bool,
}

/// A domain name that a ready endpoint has in place of an address, as in slices of
/// `addressType: FQDN`. CoreDNS answers with a CNAME record (`HostType` of
/// `plugin/etcd/msg/type.go`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alias {
    /// The domain name, in presentation form as written, without the final dot.
    pub target: Box<str>,
    /// The label of the endpoint. Empty where the endpoint has none, because neither a
    /// hostname is given nor the domain name has a dot (CoreDNS, `endpointHostname`).
    pub name: Box<str>,
}

/// One address of a ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address; an IPv4 address mapped into IPv6 is kept as IPv4.
    pub address: IpAddr,
    /// The name it goes by, where that is not made of its address. May contain
    /// dots when it is a pod's.
    pub name: Option<Box<str>>,
}

const _: () = assert!(size_of::<Endpoint>() == 40);
const _: () = assert!(size_of::<Port>() == 24);

/// A pod that is neither finished nor lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its first address. CoreDNS knows no other (`plugin/kubernetes/object/pod.go`).
    pub address: Option<IpAddr>,
}

/// The label of an endpoint without a hostname, from its address as written (CoreDNS,
/// `endpointHostname`): dots or else colons become dashes. An IPv6 address whose label
/// would end in a dash gets a zero, since no label ends in a dash. A text without dots
/// and colons gives the empty label.
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

/// The name of an endpoint that has no other, from its address in its usual
/// spelling (RFC 5952): `10-0-0-22`, `fd00--1`.
pub fn dashed_address(address: IpAddr) -> String {
    dashed(&address.to_string())
}
