//! The grammar of the zone: which object a name stands for, and the candidates for its
//! records (CoreDNS, `plugin/kubernetes/parse.go`, `findServices` and `findPods` in
//! `plugin/kubernetes/kubernetes.go`).

mod ports;

use std::net::IpAddr;

use headless_ebpf::abi::PodsMode;
use hickory_proto::rr::RecordType;

use self::ports::PortFilter;
use super::name::Zone;
use crate::records::Index;
use crate::records::index::ServiceView;
use crate::records::service::EndpointLabel;
use crate::records::types::EndpointScope;
use crate::watch::{Alias, EndpointView, Port, Service, ServiceKind};

/// Why a name has no list of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The name does not exist (CoreDNS, `IsNameError`).
    Missing,
    /// The index does not know whether the name exists.
    Unknown,
}

/// A host and a port that a name stands for (CoreDNS, `msg.Service` in
/// `plugin/etcd/msg/service.go`).
pub(super) struct Candidate {
    /// The SRV target: the labels left of the zone, leftmost first.
    pub(super) target: Vec<String>,
    pub(super) host: Host,
    /// `None` for a port without a number, which has no SRV record.
    pub(super) port: Option<u16>,
}

/// The host of a candidate.
pub(super) enum Host {
    Address(IpAddr),
    /// A domain name as written: a Service's external name or an endpoint's alias.
    Name(Box<str>),
}

impl Host {
    /// The type of the record that the host has.
    pub(super) const fn record_type(&self) -> RecordType {
        match self {
            Self::Address(IpAddr::V4(_)) => RecordType::A,
            Self::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Self::Name(_) => RecordType::CNAME,
        }
    }
}

/// The labels left of a Service's name.
enum Prefix<'a> {
    /// No label: the Service itself.
    None,
    /// One label: an endpoint, never a port.
    Endpoint(&'a str),
    /// Two labels or more: port and protocol are the last two.
    Port(PortFilter<'a>),
}

/// The candidates for a name of these labels, which stand left of the zone, leftmost
/// first. The list is empty for a name that only has names below it.
pub(super) fn candidates(
    index: &Index,
    zone: &Zone,
    labels: &[String],
) -> Result<Vec<Candidate>, Miss> {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let (below, pods) = match labels.as_slice() {
        [] | ["svc" | "pod"] => return Ok(Vec::new()),
        [below @ .., "svc"] => (below, false),
        [below @ .., "pod"] => (below, true),
        _ => return Err(Miss::Missing),
    };
    let (name, namespace) = match below {
        [namespace] => (&[][..], *namespace),
        // Trap T6: a name with three labels or more left of the Service does not exist,
        // whatever the Service.
        [_, _, _, .., _, _] => return Err(Miss::Missing),
        [name @ .., namespace] => (name, *namespace),
        [] => return Ok(Vec::new()),
    };
    if zone.reverse || !index.namespace_exists(namespace) {
        return Err(Miss::Missing);
    }
    if pods {
        return find_pods(index, namespace, name);
    }
    match name {
        [] => Ok(Vec::new()),
        [service] => find_services(index, namespace, service, Prefix::None),
        // Trap T3: `_tcp` alone is an endpoint that does not exist, although names below
        // `_tcp` do.
        [endpoint, service] => find_services(index, namespace, service, Prefix::Endpoint(endpoint)),
        [.., port, protocol, service] => {
            let filter = PortFilter::from_labels(port, protocol);
            find_services(index, namespace, service, Prefix::Port(filter))
        }
    }
}

/// The SRV target that is a Service or one of its endpoints.
fn target(view: &ServiceView<'_>, endpoint: Option<EndpointView<'_>>) -> Vec<String> {
    let mut target = Vec::with_capacity(4);
    target.extend(endpoint.map(|endpoint| EndpointLabel::of(endpoint).to_string()));
    target.extend([view.name, view.namespace, "svc"].map(str::to_owned));
    target
}

fn find_services(
    index: &Index,
    namespace: &str,
    service: &str,
    prefix: Prefix<'_>,
) -> Result<Vec<Candidate>, Miss> {
    let view = index.service(namespace, service).ok_or(Miss::Missing)?;
    let service = view.state.service.as_deref().ok_or(Miss::Missing)?;
    if service.partial {
        return Err(Miss::Unknown);
    }
    let endpoints = &view.state.endpoints;
    match (&service.kind, prefix) {
        // Nothing exists below an external name. But CoreDNS takes `_._.<service>`,
        // which any port matches, for the Service itself.
        (ServiceKind::ExternalName(name), Prefix::None | Prefix::Port(PortFilter::ANY)) => {
            Ok(vec![Candidate {
                target: target(&view, None),
                host: Host::Name(name.clone()),
                port: None,
            }])
        }
        (ServiceKind::ExternalName(_) | ServiceKind::Unserved, _) => Err(Miss::Missing),
        (ServiceKind::ClusterIp(_), Prefix::Endpoint(_))
            if index.settings().endpoints == EndpointScope::Headless =>
        {
            Err(Miss::Unknown)
        }
        (ServiceKind::ClusterIp(_) | ServiceKind::Headless, Prefix::Endpoint(label)) => {
            let aliases = endpoints.aliases();
            let aliases = aliases.filter(|(alias, _)| alias.name.eq_ignore_ascii_case(label));
            of_endpoints(&view, endpoints.named(label), aliases, PortFilter::ANY)
        }
        // Trap T1: a headless Service without a ready endpoint does not exist.
        (ServiceKind::Headless, Prefix::None) => {
            of_endpoints(&view, endpoints.all(), endpoints.aliases(), PortFilter::ANY)
        }
        // Trap T4: a name with port and protocol has the addresses, too.
        (ServiceKind::Headless, Prefix::Port(filter)) => {
            of_endpoints(&view, endpoints.all(), endpoints.aliases(), filter)
        }
        (ServiceKind::ClusterIp(addresses), Prefix::None) => {
            of_cluster_ips(&view, service, addresses, PortFilter::ANY)
        }
        (ServiceKind::ClusterIp(addresses), Prefix::Port(filter)) => {
            of_cluster_ips(&view, service, addresses, filter)
        }
    }
}

/// Each matching port of a Service with each of its addresses.
fn of_cluster_ips(
    view: &ServiceView<'_>,
    service: &Service,
    addresses: &[IpAddr],
    filter: PortFilter<'_>,
) -> Result<Vec<Candidate>, Miss> {
    let mut numbers = filter.numbers(&service.ports).peekable();
    if numbers.peek().is_none() {
        return Err(Miss::Missing);
    }
    let candidate = |host, port| Candidate {
        target: target(view, None),
        host,
        port,
    };
    if addresses.is_empty() {
        // CoreDNS takes the missing address for an empty domain name: the Service exists
        // without records.
        let name = |port| candidate(Host::Name("".into()), port);
        return Ok(numbers.map(name).collect());
    }
    let with_port = |port| {
        let hosts = addresses.iter().copied().map(Host::Address);
        hosts.map(move |host| candidate(host, port))
    };
    Ok(numbers.flat_map(with_port).collect())
}

/// Each endpoint with each matching port of its slice, which is a target port. Trap T9:
/// an address in two slices counts twice. Without candidates the name does not exist.
fn of_endpoints<'a>(
    view: &ServiceView<'_>,
    endpoints: impl Iterator<Item = (EndpointView<'a>, &'a [Port])>,
    aliases: impl Iterator<Item = (&'a Alias, &'a [Port])>,
    filter: PortFilter<'_>,
) -> Result<Vec<Candidate>, Miss> {
    // A slice that could not be read whole may have had more endpoints.
    if view.state.endpoints.is_partial() {
        return Err(Miss::Unknown);
    }
    let endpoints = endpoints.flat_map(|(endpoint, ports)| {
        filter.numbers(ports).map(move |port| Candidate {
            target: target(view, Some(endpoint)),
            host: Host::Address(endpoint.address),
            port,
        })
    });
    let aliases = aliases.flat_map(|(alias, ports)| {
        filter.numbers(ports).map(move |port| Candidate {
            // Never read, since no SRV record leads to an alias.
            target: target(view, None),
            host: Host::Name(alias.target.clone()),
            port,
        })
    });
    let found: Vec<_> = endpoints.chain(aliases).collect();
    if found.is_empty() {
        return Err(Miss::Missing);
    }
    Ok(found)
}

/// The names and addresses of a Service as the zone's name server (CoreDNS, `nsAddrs` in
/// `plugin/kubernetes/ns.go`).
pub(super) fn of_name_server(view: &ServiceView<'_>) -> Vec<Candidate> {
    let Some(service) = view.state.service.as_deref() else {
        return Vec::new();
    };
    let candidate = |endpoint, address| Candidate {
        target: target(view, endpoint),
        host: Host::Address(address),
        port: None,
    };
    match &service.kind {
        ServiceKind::ClusterIp(addresses) => {
            let addresses = addresses.iter();
            addresses.map(|address| candidate(None, *address)).collect()
        }
        ServiceKind::Headless => {
            let endpoints = view.state.endpoints.all();
            endpoints
                .map(|(endpoint, _)| candidate(Some(endpoint), endpoint.address))
                .collect()
        }
        ServiceKind::ExternalName(_) | ServiceKind::Unserved => Vec::new(),
    }
}

/// The candidates of a pod's name. As in CoreDNS (`findPods`), labels left of the pod's
/// do not matter.
fn find_pods(index: &Index, namespace: &str, name: &[&str]) -> Result<Vec<Candidate>, Miss> {
    let mode = index.settings().pods;
    if mode == PodsMode::Disabled {
        return Err(Miss::Missing);
    }
    let Some(pod) = name.last() else {
        return Ok(Vec::new());
    };
    let ipv4 = pod.matches('-').count() == 3 && !pod.contains("--");
    let text = pod.replace('-', if ipv4 { "." } else { ":" });
    let address = text.parse::<IpAddr>().map_err(|_| Miss::Missing)?;
    let count = match mode {
        PodsMode::Insecure => 1,
        // CoreDNS compares the text, so it only finds the usual spelling of an address.
        PodsMode::Verified if address.to_string() == text => index.pods(namespace, address),
        PodsMode::Verified | PodsMode::Disabled => 0,
    };
    if count == 0 {
        return Err(Miss::Missing);
    }
    let candidate = |_| Candidate {
        target: [pod, namespace, "pod"].map(str::to_owned).to_vec(),
        host: Host::Address(address.to_canonical()),
        port: Some(0),
    };
    Ok((0..count).map(candidate).collect())
}
