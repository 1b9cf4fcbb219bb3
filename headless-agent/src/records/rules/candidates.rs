//! The grammar of the zone: which object a name stands for, and the candidates for its
//! records (CoreDNS, `plugin/kubernetes/parse.go`, `findServices` and `findPods` in
//! `plugin/kubernetes/kubernetes.go`).

mod ports;

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use headless_ebpf::abi::PodsMode;
use hickory_proto::rr::RecordType;

use self::ports::PortFilter;
pub(super) use self::ports::Selected;
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

/// A host that a name stands for, with its ports. CoreDNS makes one `msg.Service`
/// (`plugin/etcd/msg/service.go`) for each port of each host. An object may have 8,000 hosts
/// with as many ports, so here the hosts of an object share its ports.
pub(super) struct Candidate<'a> {
    pub(super) target: Target<'a>,
    pub(super) host: Host<'a>,
    pub(super) ports: Rc<Selected>,
}

/// An SRV target as the labels left of the zone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target<'a> {
    /// The label of an endpoint.
    pub(super) endpoint: Option<EndpointLabel<'a>>,
    /// The labels of the Service, pod or name server, leftmost first. Empty ones do not count.
    pub(super) parent: [&'a str; 3],
}

impl Target<'_> {
    /// All labels, leftmost first. The label of an endpoint may have dots.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        let endpoint = self.endpoint.iter().map(|label| &**label);
        let parent = self.parent.iter().copied();
        endpoint.chain(parent.filter(|label| !label.is_empty()))
    }
}

/// The host of a candidate.
pub(super) enum Host<'a> {
    Address(IpAddr),
    /// A domain name as written: a Service's external name or an endpoint's alias.
    Name(&'a str),
}

impl Host<'_> {
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
pub(super) fn candidates<'a>(
    index: &'a Index,
    zone: &Zone,
    labels: &'a [String],
) -> Result<Vec<Candidate<'a>>, Miss> {
    let labels: Vec<&'a str> = labels.iter().map(String::as_str).collect();
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
pub(super) fn target<'a>(view: &ServiceView<'a>, endpoint: Option<EndpointView<'a>>) -> Target<'a> {
    Target {
        endpoint: endpoint.map(EndpointLabel::of),
        parent: [view.name, view.namespace, "svc"],
    }
}

fn find_services<'a>(
    index: &'a Index,
    namespace: &str,
    service: &str,
    prefix: Prefix<'_>,
) -> Result<Vec<Candidate<'a>>, Miss> {
    let view = index.service(namespace, service).ok_or(Miss::Missing)?;
    let service = view.state.service.as_deref().ok_or(Miss::Missing)?;
    if service.partial {
        return Err(Miss::Unknown);
    }
    let endpoints = &view.state.endpoints;
    if matches!(service.kind, ServiceKind::ClusterIp(_)) {
        if view.state.may_be_empty() {
            return Err(Miss::Unknown);
        }
        if view.state.ignores_empty && endpoints.is_empty() {
            return Err(Miss::Missing);
        }
    }
    match (&service.kind, prefix) {
        // Nothing exists below an external name. But CoreDNS takes `_._.<service>`,
        // which any port matches, for the Service itself.
        (ServiceKind::ExternalName(name), Prefix::None | Prefix::Port(PortFilter::ANY)) => {
            Ok(vec![Candidate {
                target: target(&view, None),
                host: Host::Name(name),
                ports: Rc::new(Selected::NONE),
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

/// The addresses of a Service with its matching ports.
fn of_cluster_ips<'a>(
    view: &ServiceView<'a>,
    service: &Service,
    addresses: &[IpAddr],
    filter: PortFilter<'_>,
) -> Result<Vec<Candidate<'a>>, Miss> {
    let ports = Rc::new(filter.select(&service.ports));
    if ports.count == 0 {
        return Err(Miss::Missing);
    }
    let candidate = |host| Candidate {
        target: target(view, None),
        host,
        ports: Rc::clone(&ports),
    };
    if addresses.is_empty() {
        // CoreDNS takes the missing address for an empty domain name: the Service exists
        // without records.
        return Ok(vec![candidate(Host::Name(""))]);
    }
    let hosts = addresses.iter().copied().map(Host::Address);
    Ok(hosts.map(candidate).collect())
}

/// Each endpoint with the matching ports of its slice, which are target ports. Trap T9:
/// an address in two slices counts twice. Without candidates the name does not exist.
fn of_endpoints<'a>(
    view: &ServiceView<'a>,
    endpoints: impl Iterator<Item = (EndpointView<'a>, &'a [Port])>,
    aliases: impl Iterator<Item = (&'a Alias, &'a [Port])>,
    filter: PortFilter<'_>,
) -> Result<Vec<Candidate<'a>>, Miss> {
    // A slice that could not be read whole may have had more endpoints.
    if view.state.endpoints.is_partial() {
        return Err(Miss::Unknown);
    }
    let endpoints = endpoints.map(|(endpoint, ports)| {
        let host = Host::Address(endpoint.address);
        (target(view, Some(endpoint)), host, ports)
    });
    let aliases = aliases.map(|(alias, ports)| {
        // The target is never read, since no SRV record leads to an alias.
        (target(view, None), Host::Name(&alias.target), ports)
    });
    let mut found = Vec::new();
    // The endpoints of a slice follow one another, unless they are asked for by their label.
    let mut selected: HashMap<*const Port, Rc<Selected>> = HashMap::new();
    let mut last: Option<(&[Port], Rc<Selected>)> = None;
    for (target, host, list) in endpoints.chain(aliases) {
        let ports = match &last {
            Some((of, ports)) if std::ptr::eq(*of, list) => Rc::clone(ports),
            _ => {
                let select = || Rc::new(filter.select(list));
                Rc::clone(selected.entry(list.as_ptr()).or_insert_with(select))
            }
        };
        last = Some((list, Rc::clone(&ports)));
        if ports.count > 0 {
            found.push(Candidate {
                target,
                host,
                ports,
            });
        }
    }
    if found.is_empty() {
        return Err(Miss::Missing);
    }
    Ok(found)
}

/// The candidate of a pod's name. As in CoreDNS (`findPods`), labels left of the pod's
/// do not matter.
fn find_pods<'a>(
    index: &Index,
    namespace: &'a str,
    name: &[&'a str],
) -> Result<Vec<Candidate<'a>>, Miss> {
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
    Ok(vec![Candidate {
        target: Target {
            endpoint: None,
            parent: [pod, namespace, "pod"],
        },
        host: Host::Address(address.to_canonical()),
        // CoreDNS counts each pod.
        ports: Rc::new(Selected::one(0, count as usize)),
    }])
}
