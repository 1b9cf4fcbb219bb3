//! From EndpointSlices to slim EndpointSlices.

use std::net::IpAddr;

use super::super::objects::{dashed, dashed_address};
use super::super::{
    Alias, ENTRIES_MAX, Endpoint, EndpointSlice, Keep, Kind, Port, Problems, Reason, SliceEndpoints,
};
use super::checks::{Checks, NAME_MAX, is_plain_name, reference};
use super::read::{ReadEndpoint, ReadSlice, SERVICE_NAME_LABEL};

/// The ready endpoints of a slice, as far as they could be used.
#[derive(Default)]
struct ReadyEndpoints {
    endpoints: Vec<Endpoint>,
    aliases: Vec<Alias>,
    /// Whether something was left out that could change an answer.
    partial: bool,
}

/// The slim form of an EndpointSlice. `None` where it has no name, or where its namespace
/// cannot be part of a domain name.
///
/// An endpoint is ready if `conditions.ready` is true or missing. As in CoreDNS
/// (`plugin/etcd/msg/type.go`), `addressType` decides nothing: a text that is no IP
/// address is a domain name.
pub fn endpoint_slice(
    object: &ReadSlice,
    keep: &Keep,
    problems: &mut Problems,
) -> Option<EndpointSlice> {
    let reference = reference(Kind::EndpointSlice, &object.metadata);
    let mut checks = Checks {
        object: &reference,
        problems,
    };
    checks.label("metadata.namespace", &reference.namespace);
    if reference.name.is_empty() {
        checks.report("metadata.name", Reason::MissingField);
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
        checks.report(field, Reason::MissingServiceLabel);
    } else {
        // A label that no Service can have drops no endpoints: they have reverse names even
        // without a Service.
        checks.label(&field, service);
    }
    let address_type = object.address_type.as_str();
    if !matches!(address_type, "IPv4" | "IPv6" | "FQDN") {
        let reason = Reason::UnknownAddressType(address_type.into());
        checks.report("addressType", reason);
    }
    let entries = entries(object);
    if entries > ENTRIES_MAX {
        checks.report("", Reason::TooManyEntries(entries));
        return Some(EndpointSlice {
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            service: if is_plain_name(service) { service } else { "" }.into(),
            ports: Box::default(),
            endpoints: addresses(object),
            aliases: Box::default(),
            partial: true,
            selected: true,
        });
    }
    let mut ready = ReadyEndpoints::default();
    for (i, endpoint) in object.endpoints.iter().enumerate() {
        let are_names = address_type == "FQDN";
        ready.add(i, endpoint, keep, are_names, &mut checks);
    }
    let ports = ports(object, &mut ready.partial, &mut checks);
    Some(EndpointSlice {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        service: if is_plain_name(service) { service } else { "" }.into(),
        ports,
        endpoints: ready.endpoints.as_slice().into(),
        aliases: ready.aliases.into(),
        partial: ready.partial,
        selected: true,
    })
}

/// The addresses of the endpoints that are ready.
fn texts(object: &ReadSlice) -> impl Iterator<Item = &String> {
    let ready = object.endpoints.iter().filter(|at| is_ready(at));
    ready.flat_map(|endpoint| &endpoint.addresses)
}

fn is_ready(endpoint: &ReadEndpoint) -> bool {
    let conditions = endpoint.conditions;
    conditions.and_then(|conditions| conditions.ready) != Some(false)
}

/// [`EndpointSlice::entries`] of the slim slice, at most.
fn entries(object: &ReadSlice) -> usize {
    1 + texts(object).count() + object.ports.len()
}

/// Each address of a slice whose Service is never answered for, because the slice alone has
/// too many entries. Nobody may think that another Service is the only one with this address.
fn addresses(object: &ReadSlice) -> SliceEndpoints {
    let addresses = texts(object).filter_map(|text| text.parse::<IpAddr>().ok());
    let mut addresses: Vec<_> = addresses.map(|address| address.to_canonical()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let endpoint = |address| Endpoint {
        address,
        name: None,
    };
    addresses.into_iter().map(endpoint).collect()
}

/// The ports. Where a port cannot be used, it is left out and `partial` becomes true.
fn ports(object: &ReadSlice, partial: &mut bool, checks: &mut Checks<'_>) -> Box<[Port]> {
    let mut ports = Vec::new();
    for (i, port) in object.ports.iter().enumerate() {
        let field = format!("ports[{i}].port");
        let number = port
            .port
            .and_then(|number| checks.port_number(&field, number));
        let field = format!("ports[{i}].protocol");
        let Some(protocol) = checks.protocol(&field, port.protocol.as_deref()) else {
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
    checks.duplicates("ports", &ports, false);
    ports.into_iter().map(|(_, port)| port).collect()
}

impl ReadyEndpoints {
    /// Adds the addresses of the endpoint at place `i` of the slice, if it is ready.
    /// `are_names` says that the slice declares its addresses to be domain names.
    fn add(
        &mut self,
        i: usize,
        endpoint: &ReadEndpoint,
        keep: &Keep,
        are_names: bool,
        checks: &mut Checks<'_>,
    ) {
        if !is_ready(endpoint) {
            return;
        }
        let hostname = endpoint.hostname.as_deref();
        let hostname = hostname.filter(|hostname| !hostname.is_empty());
        if let Some(hostname) = hostname {
            checks.label(&format!("endpoints[{i}].hostname"), hostname);
        }
        // CoreDNS takes the name of any object, not only of a Pod, but none that is too long
        // for a label (`plugin/kubernetes/object/endpoint.go`).
        let pod = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.name.as_deref())
            .filter(|name| keep.pod_names && (1..64).contains(&name.len()));
        let mut name = hostname.or(pod);
        if name.is_some_and(|name| name.len() > NAME_MAX || !is_plain_name(name)) {
            // The addresses are kept, so that nobody denies their reverse names.
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
                checks.report(field.as_str(), Reason::InvalidAddress(text.into()));
            }
            match checks.domain_name(&field, text) {
                Some(target) => self.aliases.push(Alias {
                    target,
                    name: name.map_or_else(|| dashed(text).into(), Box::from),
                }),
                None => self.partial = true,
            }
        }
    }
}

/// The label that CoreDNS makes of an address as the slice spells it. `None` where that is
/// the usual spelling, which need not be stored. Clients see capitals in SRV targets.
fn spelled(text: &str, address: IpAddr) -> Option<String> {
    let dashed = dashed(text);
    let usual = dashed_address(address) == dashed || dashed.len() > 63;
    (!usual).then_some(dashed)
}
