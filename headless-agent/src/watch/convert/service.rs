//! From Services to slim Services.

use super::super::{ENTRIES_MAX, Kind, Port, Problems, Reason, Service, ServiceKind};
use super::checks::{Checks, reference};
use super::read::{ReadService, ReadServiceSpec};

/// A part of a Service, as far as it could be used.
struct Parsed<T> {
    value: T,
    /// Whether something was left out that could change an answer.
    partial: bool,
}

/// The slim form of a Service. `None` where CoreDNS cannot find a Service of this name.
pub fn service(object: &ReadService, problems: &mut Problems) -> Option<Service> {
    let reference = reference(Kind::Service, &object.metadata);
    let mut checks = Checks {
        object: &reference,
        problems,
    };
    if !checks.names() {
        return None;
    }
    let spec = &object.spec;
    let ports = ports(spec, &mut checks);
    let kind = kind(spec, &mut checks);
    // Only a Service with cluster IPs has SRV records of its own ports. A headless
    // Service has those of its slices.
    let ports_matter = matches!(kind.value, ServiceKind::ClusterIp(_));
    Some(Service {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        kind: kind.value,
        ports: ports.value,
        selector: spec.selector,
        partial: kind.partial || (ports.partial && ports_matter),
        selected: true,
    })
}

fn ports(spec: &ReadServiceSpec, checks: &mut Checks<'_>) -> Parsed<Box<[Port]>> {
    let count = spec.ports.len();
    if count > ENTRIES_MAX {
        checks.report("spec.ports", Reason::TooManyEntries(count));
        return Parsed {
            value: Box::default(),
            partial: true,
        };
    }
    let mut ports = Vec::new();
    let mut partial = false;
    for (i, port) in spec.ports.iter().enumerate() {
        let number = port.port.unwrap_or_default();
        let number = checks.port_number(&format!("spec.ports[{i}].port"), number);
        let field = format!("spec.ports[{i}].protocol");
        let Some(protocol) = checks.protocol(&field, port.protocol.as_deref()) else {
            partial = true;
            continue;
        };
        let port = Port {
            name: port.name.as_deref().unwrap_or_default().into(),
            number,
            protocol,
        };
        ports.push((i, port));
    }
    checks.duplicates("spec.ports", &ports, true);
    Parsed {
        value: ports.into_iter().map(|(_, port)| port).collect(),
        partial,
    }
}

fn kind(spec: &ReadServiceSpec, checks: &mut Checks<'_>) -> Parsed<ServiceKind> {
    match spec.type_.as_deref() {
        Some("ExternalName") => return external_name(spec, checks),
        None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer") => {}
        Some(other) => checks.report("spec.type", Reason::UnknownServiceType(other.into())),
    }
    let single = spec.cluster_ip.as_slice();
    let (field, texts) = match &*spec.cluster_ips {
        [] => ("spec.clusterIP", single),
        texts => ("spec.clusterIPs", texts),
    };
    if texts.first().is_some_and(|first| first == "None") {
        return Parsed {
            value: ServiceKind::Headless,
            partial: false,
        };
    }
    let mut addresses = Vec::new();
    let mut partial = false;
    for (i, text) in texts
        .iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
    {
        let place = match field {
            "spec.clusterIP" => field.to_owned(),
            _ => format!("{field}[{i}]"),
        };
        match checks.address(&place, text) {
            Some(address) => addresses.push(address),
            None => partial = true,
        }
    }
    if texts.iter().all(String::is_empty) {
        checks.report("spec.clusterIPs", Reason::MissingClusterIp);
    }
    Parsed {
        value: ServiceKind::ClusterIp(addresses.into()),
        partial,
    }
}

fn external_name(spec: &ReadServiceSpec, checks: &mut Checks<'_>) -> Parsed<ServiceKind> {
    const FIELD: &str = "spec.externalName";
    let text = spec.external_name.as_deref().unwrap_or_default();
    if text.parse::<std::net::IpAddr>().is_ok() {
        checks.report(FIELD, Reason::ExternalNameIsAddress(text.into()));
        return Parsed {
            value: ServiceKind::Unserved,
            partial: false,
        };
    }
    match checks.domain_name(FIELD, text) {
        Some(name) => Parsed {
            value: ServiceKind::ExternalName(name),
            partial: false,
        },
        None => Parsed {
            value: ServiceKind::Unserved,
            partial: true,
        },
    }
}
