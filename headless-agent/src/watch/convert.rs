//! From Kubernetes' objects to slim ones.
//!
//! Conversion never fails as a whole: what cannot be used is reported as a
//! [`Problem`] and left out.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::objects::{dashed, dashed_address};
use super::{
    Endpoint, EndpointSlice, Keep, Kind, Namespace, ObjectRef, Pod, Port, Problem, Protocol,
    Reason, Service, ServiceKind,
};

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Whether the API would have it as a label (RFC 1123, section 2.1): lower-case
/// letters, digits, and hyphens between them.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Collects the problems of one object.
struct Report<'a> {
    object: &'a ObjectRef,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    fn add(&mut self, field: impl Into<String>, reason: Reason) {
        self.problems.push(Problem {
            object: self.object.to_string(),
            field: field.into(),
            reason,
        });
    }

    /// Whether the text can be a label; reports it where not.
    fn label(&mut self, field: &str, text: &str) -> bool {
        let reason = if text.is_empty() {
            Reason::MissingField
        } else if text.len() > 63 {
            Reason::LabelTooLong(text.len())
        } else if !is_label(text) {
            Reason::InvalidLabel(text.to_owned())
        } else {
            return true;
        };
        self.add(field, reason);
        false
    }

    /// The address, where the text is one; reports it where not.
    fn address(&mut self, field: impl FnOnce() -> String, text: &str) -> Option<IpAddr> {
        let parsed = text.parse::<IpAddr>().ok();
        if parsed.is_none() {
            self.add(field(), Reason::InvalidAddress(text.to_owned()));
        }
        parsed.map(|address| address.to_canonical())
    }

    fn protocol(&mut self, field: impl FnOnce() -> String, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP" | "") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.add(field(), Reason::UnknownProtocol(other.to_owned()));
                None
            }
        }
    }

    /// Reports ports whose name and protocol, or number and protocol, repeat.
    /// They are served all the same, as CoreDNS does.
    fn duplicates(&mut self, field: &str, ports: &[Port], numbers: bool) {
        let mut names = HashSet::new();
        let mut seen = HashSet::new();
        for (i, port) in ports.iter().enumerate() {
            let by_name = !names.insert((&port.name, port.protocol));
            let by_number = numbers && !seen.insert((port.number, port.protocol));
            if by_name || by_number {
                let shown = match (port.name.is_empty(), port.number) {
                    (false, _) => port.name.to_string(),
                    (true, Some(number)) => number.to_string(),
                    (true, None) => "without a number".to_owned(),
                };
                self.add(format!("{field}[{i}]"), Reason::DuplicatePort(shown));
            }
        }
    }
}

/// Which object the metadata belong to; `default` where no namespace is given.
fn reference(kind: Kind, metadata: &ObjectMeta) -> ObjectRef {
    let namespace = match kind {
        Kind::Namespace => "",
        Kind::Service | Kind::EndpointSlice | Kind::Pod => {
            metadata.namespace.as_deref().unwrap_or("default")
        }
    };
    ObjectRef {
        kind,
        namespace: namespace.into(),
        name: metadata.name.as_deref().unwrap_or_default().into(),
    }
}

/// The slim form of a Namespace; `None` where its name cannot be in a domain
/// name.
pub fn namespace(object: &v1::Namespace, problems: &mut Vec<Problem>) -> Option<Namespace> {
    let reference = reference(Kind::Namespace, &object.metadata);
    let mut report = Report {
        object: &reference,
        problems,
    };
    report
        .label("metadata.name", &reference.name)
        .then(|| Namespace {
            name: reference.name.clone(),
        })
}

/// The slim form of a Service; `None` where its name or namespace cannot be in
/// a domain name.
pub fn service(object: &v1::Service, problems: &mut Vec<Problem>) -> Option<Service> {
    let reference = reference(Kind::Service, &object.metadata);
    let mut report = Report {
        object: &reference,
        problems,
    };
    let named = report.label("metadata.name", &reference.name);
    if !(report.label("metadata.namespace", &reference.namespace) && named) {
        return None;
    }
    let empty = v1::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let mut ports = Vec::new();
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        let Some(number) = port_number(port.port) else {
            report.add(
                format!("spec.ports[{i}].port"),
                Reason::InvalidPort(port.port),
            );
            continue;
        };
        let field = || format!("spec.ports[{i}].protocol");
        let Some(protocol) = report.protocol(field, port.protocol.as_deref()) else {
            continue;
        };
        ports.push(Port {
            name: port.name.as_deref().unwrap_or_default().into(),
            number: Some(number),
            protocol,
        });
    }
    report.duplicates("spec.ports", &ports, true);
    Some(Service {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        kind: service_kind(spec, &mut report),
        ports: ports.into(),
        selector: spec
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.is_empty()),
    })
}

fn service_kind(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> ServiceKind {
    match spec.type_.as_deref() {
        Some("ExternalName") => return external_name(spec, report),
        None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer") => {}
        Some(other) => report.add("spec.type", Reason::UnknownServiceType(other.to_owned())),
    }
    let single = spec.cluster_ip.as_slice();
    let (field, addresses) = match spec.cluster_ips.as_deref() {
        Some(addresses) if !addresses.is_empty() => ("spec.clusterIPs", addresses),
        _ => ("spec.clusterIP", single),
    };
    if addresses.first().is_some_and(|first| first == "None") {
        return ServiceKind::Headless;
    }
    let mut parsed = Vec::new();
    for (i, text) in addresses.iter().enumerate() {
        if text.is_empty() {
            continue;
        }
        let place = || match field {
            "spec.clusterIP" => field.to_owned(),
            _ => format!("{field}[{i}]"),
        };
        parsed.extend(report.address(place, text));
    }
    if addresses.iter().all(String::is_empty) {
        report.add("spec.clusterIPs", Reason::MissingClusterIp);
    }
    ServiceKind::ClusterIp(parsed.into())
}

fn external_name(spec: &v1::ServiceSpec, report: &mut Report<'_>) -> ServiceKind {
    const FIELD: &str = "spec.externalName";
    let text = spec.external_name.as_deref().unwrap_or_default();
    let name = text.strip_suffix('.').unwrap_or(text);
    let reason = if text.is_empty() {
        Reason::MissingField
    } else if name.parse::<IpAddr>().is_ok() {
        Reason::ExternalNameIsAddress(text.to_owned())
    } else if name.len() > 253 {
        Reason::NameTooLong(name.len())
    } else if let Some(label) = name.split('.').find(|label| label.len() > 63) {
        Reason::LabelTooLong(label.len())
    } else if name.split('.').any(str::is_empty) {
        Reason::InvalidLabel(text.to_owned())
    } else {
        return ServiceKind::ExternalName(name.into());
    };
    report.add(FIELD, reason);
    ServiceKind::Unserved
}

/// The slim form of an EndpointSlice; `None` where its namespace cannot be in a
/// domain name.
///
/// An endpoint is ready when `conditions.ready` is true or not given. Addresses
/// are read whatever `addressType` says, as CoreDNS does, save that a slice of
/// names (`FQDN`) or of an unknown type is taken as empty.
pub fn endpoint_slice(
    object: &discovery::EndpointSlice,
    keep: Keep,
    problems: &mut Vec<Problem>,
) -> Option<EndpointSlice> {
    let reference = reference(Kind::EndpointSlice, &object.metadata);
    let mut report = Report {
        object: &reference,
        problems,
    };
    if reference.name.is_empty() {
        report.add("metadata.name", Reason::MissingField);
        return None;
    }
    if !report.label("metadata.namespace", &reference.namespace) {
        return None;
    }
    let labels = object.metadata.labels.as_ref();
    let mut service = labels
        .and_then(|labels| labels.get(SERVICE_NAME_LABEL))
        .map_or("", String::as_str);
    let label = format!("metadata.labels[{SERVICE_NAME_LABEL}]");
    if service.is_empty() {
        report.add(label, Reason::MissingServiceLabel);
    } else if !report.label(&label, service) {
        service = "";
    }
    let mut endpoints = Vec::new();
    match object.address_type.as_str() {
        "IPv4" | "IPv6" => {
            for (i, endpoint) in object.endpoints.iter().flatten().enumerate() {
                self::endpoints(i, endpoint, keep, &mut report, &mut endpoints);
            }
        }
        other => report.add("addressType", Reason::UnusableAddressType(other.to_owned())),
    }
    let ports = slice_ports(object, &mut report);
    Some(EndpointSlice {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        service: service.into(),
        ports,
        endpoints: endpoints.into(),
    })
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

fn slice_ports(object: &discovery::EndpointSlice, report: &mut Report<'_>) -> Box<[Port]> {
    let mut ports = Vec::new();
    for (i, port) in object.ports.iter().flatten().enumerate() {
        // The API does not check these numbers, and CoreDNS serves their lower
        // 16 bits, with -1 standing for none.
        let number = port.port.filter(|number| *number != -1);
        if let Some(number) = port.port.filter(|number| port_number(*number).is_none()) {
            report.add(format!("ports[{i}].port"), Reason::InvalidPort(number));
        }
        let field = || format!("ports[{i}].protocol");
        let Some(protocol) = report.protocol(field, port.protocol.as_deref()) else {
            continue;
        };
        ports.push(Port {
            name: port.name.as_deref().unwrap_or_default().into(),
            number: number.map(|number| number.cast_unsigned() as u16),
            protocol,
        });
    }
    report.duplicates("ports", &ports, false);
    ports.into()
}

fn endpoints(
    i: usize,
    endpoint: &discovery::Endpoint,
    keep: Keep,
    report: &mut Report<'_>,
    endpoints: &mut Vec<Endpoint>,
) {
    let conditions = endpoint.conditions.as_ref();
    if conditions.and_then(|conditions| conditions.ready) == Some(false) {
        return;
    }
    let hostname = endpoint
        .hostname
        .as_deref()
        .filter(|hostname| !hostname.is_empty())
        .filter(|hostname| report.label(&format!("endpoints[{i}].hostname"), hostname));
    // CoreDNS takes whatever object is referred to, and no name that could not
    // be a label for its length (`plugin/kubernetes/object/endpoint.go`).
    let pod = endpoint
        .target_ref
        .as_ref()
        .and_then(|target| target.name.as_deref())
        .filter(|name| keep.pod_names && (1..64).contains(&name.len()));
    let name = hostname.or(pod);
    for (j, text) in endpoint.addresses.iter().enumerate() {
        let field = || format!("endpoints[{i}].addresses[{j}]");
        let Some(address) = report.address(field, text) else {
            continue;
        };
        // The name made of an address is made of its spelling in the slice, with
        // capitals where a client sees it (in an SRV record).
        let spelled = || {
            let dashed = dashed(text);
            let usual = dashed_address(address) == dashed || dashed.len() > 63;
            (!usual).then_some(dashed)
        };
        let name = name.map(str::to_owned).or_else(spelled);
        endpoints.push(Endpoint {
            address,
            name: name.map(String::into_boxed_str),
        });
    }
}

/// The slim form of a Pod; `None` where its namespace cannot be in a domain
/// name. A pod that has finished or is lost (phase Succeeded, Failed or Unknown,
/// which CoreDNS's field selector leaves out) has no address.
pub fn pod(object: &v1::Pod, problems: &mut Vec<Problem>) -> Option<Pod> {
    let reference = reference(Kind::Pod, &object.metadata);
    let mut report = Report {
        object: &reference,
        problems,
    };
    if reference.name.is_empty() {
        report.add("metadata.name", Reason::MissingField);
        return None;
    }
    if !report.label("metadata.namespace", &reference.namespace) {
        return None;
    }
    let status = object.status.as_ref();
    let over = status
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed" | "Unknown"));
    let text = status
        .and_then(|status| status.pod_ip.as_deref())
        .filter(|text| !text.is_empty() && !over);
    Some(Pod {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        address: text.and_then(|text| report.address(|| "status.podIP".to_owned(), text)),
    })
}

#[cfg(test)]
mod tests;
