//! EndpointSlices.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as discovery;

use super::super::objects::{dashed, dashed_address};
use super::super::{Alias, Endpoint, EndpointSlice, Keep, Kind, Port, Problem, Reason};
use super::report::{Report, is_plain_name, reference};

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What a slice leads to, as far as it could be read.
#[derive(Default)]
struct Targets {
    endpoints: Vec<Endpoint>,
    aliases: Vec<Alias>,
    partial: bool,
}

/// The slim form of an EndpointSlice; `None` where it has no name or its namespace
/// cannot stand in a domain name.
///
/// An endpoint is ready when `conditions.ready` is true or not given. What an address
/// is decides the address itself and not `addressType`, as in CoreDNS
/// (`plugin/etcd/msg/type.go`): a text that is no IP address is a domain name.
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
    report.label("metadata.namespace", &reference.namespace);
    if reference.name.is_empty() {
        report.add("metadata.name", Reason::MissingField);
        return None;
    }
    if !is_plain_name(&reference.namespace) {
        return None;
    }
    let labels = object.metadata.labels.as_ref();
    let service = labels
        .and_then(|labels| labels.get(SERVICE_NAME_LABEL))
        .map_or("", String::as_str);
    let field = format!("metadata.labels[{SERVICE_NAME_LABEL}]");
    if service.is_empty() {
        report.add(field, Reason::MissingServiceLabel);
    } else {
        // Reverse names of the endpoints exist whether or not there is such a Service.
        report.label(&field, service);
    }
    let address_type = object.address_type.as_str();
    if !matches!(address_type, "IPv4" | "IPv6" | "FQDN") {
        let reason = Reason::UnknownAddressType(address_type.to_owned());
        report.add("addressType", reason);
    }
    let mut targets = Targets::default();
    for (i, endpoint) in object.endpoints.iter().flatten().enumerate() {
        let are_names = address_type == "FQDN";
        targets.take(i, endpoint, keep, are_names, &mut report);
    }
    let ports = ports(object, &mut targets.partial, &mut report);
    Some(EndpointSlice {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        service: if is_plain_name(service) { service } else { "" }.into(),
        ports,
        endpoints: targets.endpoints.into(),
        aliases: targets.aliases.into(),
        partial: targets.partial,
    })
}

/// The ports that could be read. `partial` becomes true where one could not.
fn ports(
    object: &discovery::EndpointSlice,
    partial: &mut bool,
    report: &mut Report<'_>,
) -> Box<[Port]> {
    let mut ports = Vec::new();
    for (i, port) in object.ports.iter().flatten().enumerate() {
        let field = format!("ports[{i}].port");
        let number = port
            .port
            .and_then(|number| report.port_number(&field, number));
        let field = format!("ports[{i}].protocol");
        let Some(protocol) = report.protocol(&field, port.protocol.as_deref()) else {
            *partial = true;
            continue;
        };
        let port = Port {
            name: port.name.as_deref().unwrap_or_default().into(),
            number,
            protocol,
        };
        ports.push((i, port));
    }
    report.duplicates("ports", &ports, false);
    ports.into_iter().map(|(_, port)| port).collect()
}

impl Targets {
    /// Takes in the addresses of endpoint number `i`, which should be domain names if
    /// `are_names`.
    fn take(
        &mut self,
        i: usize,
        endpoint: &discovery::Endpoint,
        keep: Keep,
        are_names: bool,
        report: &mut Report<'_>,
    ) {
        let conditions = endpoint.conditions.as_ref();
        if conditions.and_then(|conditions| conditions.ready) == Some(false) {
            return;
        }
        let hostname = endpoint.hostname.as_deref();
        let hostname = hostname.filter(|hostname| !hostname.is_empty());
        if let Some(hostname) = hostname {
            report.label(&format!("endpoints[{i}].hostname"), hostname);
        }
        // CoreDNS takes whatever object is referred to, and no name that could not be a
        // label for its length (`plugin/kubernetes/object/endpoint.go`).
        let pod = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.name.as_deref())
            .filter(|name| keep.pod_names && (1..64).contains(&name.len()));
        let mut name = hostname.or(pod);
        if name.is_some_and(|name| !is_plain_name(name)) {
            // The addresses stay: they have a reverse name, if an unknown one.
            self.partial = true;
            name = None;
        }
        for (j, text) in endpoint.addresses.iter().enumerate() {
            if let Ok(address) = text.parse::<IpAddr>() {
                self.endpoints.push(Endpoint {
                    address: address.to_canonical(),
                    name: name
                        .map(str::to_owned)
                        .or_else(|| spelled(text, address.to_canonical()))
                        .map(String::into_boxed_str),
                });
                continue;
            }
            let field = format!("endpoints[{i}].addresses[{j}]");
            if !are_names {
                report.add(field.as_str(), Reason::InvalidAddress(text.to_owned()));
            }
            match report.domain_name(&field, text) {
                Some(target) => self.aliases.push(Alias {
                    target,
                    name: name.map_or_else(|| dashed(text).into(), Box::from),
                }),
                None => self.partial = true,
            }
        }
    }
}

/// The label made of an address as it is spelled in the slice, where that is not the
/// usual spelling: clients see its capitals in SRV records.
fn spelled(text: &str, address: IpAddr) -> Option<String> {
    let dashed = dashed(text);
    let usual = dashed_address(address) == dashed || dashed.len() > 63;
    (!usual).then_some(dashed)
}
