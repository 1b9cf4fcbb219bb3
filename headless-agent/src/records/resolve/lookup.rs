//! The grammar of the zone: which name stands for what, and the candidates for
//! its records (CoreDNS, `parseRequest`, `findServices`, `findPods`).

use std::net::IpAddr;

use headless_ebpf::abi::PodsMode;
use hickory_proto::rr::RecordType;

use super::name::Zone;
use crate::records::Index;
use crate::records::index::ServiceView;
use crate::records::service::endpoint_label;
use crate::records::types::EndpointScope;
use crate::watch::{Alias, Endpoint, Port, ServiceKind};

/// Why there is no list of candidates for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The name does not exist (CoreDNS, `IsNameError`).
    Missing,
    /// Whether it exists is not known.
    Unknown,
}

/// A combination of host and port that a name stands for (CoreDNS,
/// `msg.Service`).
pub(super) struct Candidate {
    /// The labels, left of the zone, that an SRV record leads to.
    pub(super) owner: Vec<String>,
    pub(super) host: Host,
    /// `None` where there is no port to give.
    pub(super) port: Option<u16>,
}

/// Where a candidate is.
pub(super) enum Host {
    Address(IpAddr),
    /// A domain name, as written: a Service's external name or an endpoint's alias.
    Name(Box<str>),
}

impl Host {
    /// Which records it gives.
    pub(super) const fn record_type(&self) -> RecordType {
        match self {
            Self::Address(IpAddr::V4(_)) => RecordType::A,
            Self::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Self::Name(_) => RecordType::CNAME,
        }
    }
}

/// What stands left of the Service's name.
enum Part<'a> {
    /// Nothing: the Service itself.
    Whole,
    /// One label: an endpoint, never a port.
    Endpoint(&'a str),
    /// Two labels: port and protocol.
    Port(PortFilter<'a>),
}

/// Which ports are meant. An empty text means any.
#[derive(Clone, Copy)]
struct PortFilter<'a> {
    name: &'a str,
    protocol: &'a str,
}

impl PortFilter<'_> {
    const ANY: PortFilter<'static> = PortFilter {
        name: "",
        protocol: "",
    };

    /// CoreDNS, `matchPortAndProtocol`.
    fn matches(self, name: &str, protocol: &str) -> bool {
        let matches = |wanted: &str, is: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(is);
        matches(self.name, name) && matches(self.protocol, protocol)
    }

    /// The numbers of the ports that are meant. Where none is declared there is
    /// one that has neither name, protocol nor number, which is why the
    /// addresses are found all the same.
    fn of(self, ports: &[Port]) -> impl Iterator<Item = Option<u16>> {
        let undeclared = ports.is_empty() && self.matches("", "");
        ports
            .iter()
            .filter(move |port| self.matches(&port.name, port.protocol.label()))
            .map(|port| port.number)
            .chain(undeclared.then_some(None))
    }
}

/// The candidates for a name, given as labels left of the zone, leftmost first.
/// None for a name that has only names below it.
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
        // Trap T6: three or more labels left of the Service are nothing, at
        // whatever Service.
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
        [service] => find_services(index, namespace, service, Part::Whole),
        // Trap T3: `_tcp` alone is an endpoint that does not exist, although
        // names below it do.
        [endpoint, service] => find_services(index, namespace, service, Part::Endpoint(endpoint)),
        [.., port, protocol, service] => {
            let bare = |label: &'_ str| label.strip_prefix('_').map(str::len);
            let strip = |label| match bare(label) {
                Some(len) => &label[label.len() - len..],
                None => label,
            };
            let filter = PortFilter {
                name: strip(port),
                protocol: strip(protocol),
            };
            find_services(index, namespace, service, Part::Port(filter))
        }
    }
}

/// The labels of a Service, or of one of its endpoints.
fn owner(view: &ServiceView<'_>, endpoint: Option<&Endpoint>) -> Vec<String> {
    let mut owner = Vec::with_capacity(4);
    owner.extend(endpoint.map(|endpoint| endpoint_label(endpoint).into_owned()));
    owner.extend([view.name, view.namespace, "svc"].map(str::to_owned));
    owner
}

fn find_services(
    index: &Index,
    namespace: &str,
    service: &str,
    part: Part<'_>,
) -> Result<Vec<Candidate>, Miss> {
    let view = index.service(namespace, service).ok_or(Miss::Missing)?;
    let service = view.state.service.as_deref().ok_or(Miss::Missing)?;
    if service.partial {
        return Err(Miss::Unknown);
    }
    let ports = match part {
        Part::Port(filter) => filter,
        Part::Whole | Part::Endpoint(_) => PortFilter::ANY,
    };
    match (&service.kind, part) {
        // There is nothing below an external name; a filter that lets every
        // port through (`_._.`) is not noticed.
        (
            ServiceKind::ExternalName(name),
            Part::Whole
            | Part::Port(PortFilter {
                name: "",
                protocol: "",
            }),
        ) => Ok(vec![Candidate {
            owner: owner(&view, None),
            host: Host::Name(name.clone()),
            port: None,
        }]),
        (ServiceKind::ExternalName(_) | ServiceKind::Unserved, _) => Err(Miss::Missing),
        (ServiceKind::ClusterIp(_), Part::Endpoint(_))
            if index.settings().endpoints == EndpointScope::Headless =>
        {
            Err(Miss::Unknown)
        }
        (ServiceKind::ClusterIp(_) | ServiceKind::Headless, Part::Endpoint(label)) => {
            let endpoints = &view.state.endpoints;
            let aliases = endpoints.aliases();
            let aliases = aliases.filter(|(alias, _)| alias.name.eq_ignore_ascii_case(label));
            existing(&view, endpoints.named(label), aliases, ports)
        }
        // Trap T1: no ready endpoint, no name. Trap T4: below a port's name the
        // addresses are found too.
        (ServiceKind::Headless, Part::Whole | Part::Port(_)) => {
            let endpoints = &view.state.endpoints;
            existing(&view, endpoints.all(), endpoints.aliases(), ports)
        }
        (ServiceKind::ClusterIp(addresses), Part::Whole | Part::Port(_)) => {
            let mut numbers = ports.of(&service.ports).peekable();
            if numbers.peek().is_none() {
                return Err(Miss::Missing);
            }
            let candidate = |host, port| Candidate {
                owner: owner(&view, None),
                host,
                port,
            };
            if addresses.is_empty() {
                // To CoreDNS the address that is missing is a name: the Service
                // exists, and nothing leads to it.
                let name = |port| candidate(Host::Name("".into()), port);
                return Ok(numbers.map(name).collect());
            }
            let with_port = |port| {
                let hosts = addresses.iter().copied().map(Host::Address);
                hosts.map(move |host| candidate(host, port))
            };
            Ok(numbers.flat_map(with_port).collect())
        }
    }
}

/// Each endpoint with each port that is meant: an address in two slices counts
/// twice (trap T9). The ports are the slice's, hence target ports. Where there are none
/// the name does not exist; where a slice could not be read that is not known.
fn existing<'a>(
    view: &ServiceView<'_>,
    endpoints: impl Iterator<Item = (&'a Endpoint, &'a [Port])>,
    aliases: impl Iterator<Item = (&'a Alias, &'a [Port])>,
    filter: PortFilter<'_>,
) -> Result<Vec<Candidate>, Miss> {
    if view.state.endpoints.is_partial() {
        return Err(Miss::Unknown);
    }
    let endpoints = endpoints.flat_map(|(endpoint, ports)| {
        filter.of(ports).map(move |port| Candidate {
            owner: owner(view, Some(endpoint)),
            host: Host::Address(endpoint.address),
            port,
        })
    });
    let aliases = aliases.flat_map(|(alias, ports)| {
        // No SRV record leads to an alias, so the owner does not matter.
        filter.of(ports).map(move |port| Candidate {
            owner: owner(view, None),
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

/// The names and addresses of a Service as the zone's name server (CoreDNS,
/// `nsAddrs`).
pub(super) fn name_servers(view: &ServiceView<'_>) -> Vec<Candidate> {
    let Some(service) = view.state.service.as_deref() else {
        return Vec::new();
    };
    let candidate = |endpoint, address| Candidate {
        owner: owner(view, endpoint),
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

/// CoreDNS, `findPods`. Labels left of the pod's are not looked at.
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
        // Compared as text, so only the usual spelling is found.
        PodsMode::Verified if address.to_string() == text => index.pods(namespace, address),
        PodsMode::Verified | PodsMode::Disabled => 0,
    };
    if count == 0 {
        return Err(Miss::Missing);
    }
    let candidate = |_| Candidate {
        owner: [pod, namespace, "pod"].map(str::to_owned).to_vec(),
        host: Host::Address(address.to_canonical()),
        port: Some(0),
    };
    Ok((0..count).map(candidate).collect())
}
