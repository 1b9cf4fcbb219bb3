//! Reads the names of a golden case: [`super::Case::names`] describes the text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use headless_agent::records::{
    Counted, Details, NameData, RelativeName, Target, TargetSet, Targets,
};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::NameFlags;

/// The name that a case gives with dots.
pub(super) fn relative(name: &str) -> RelativeName {
    RelativeName::from_labels(name.split('.')).unwrap_or_else(|| panic!("`{name}` is no name"))
}

/// The data that a case's items describe.
pub(super) fn data(items: &[String]) -> NameData {
    let mut data = NameData {
        flags: NameFlags::empty(),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        details: None,
    };
    let (mut ports, mut targets) = (Vec::new(), Vec::new());
    for item in items {
        let flag = match item.as_str() {
            "cluster-ip" => NameFlags::CLUSTER_IP,
            "pass" => NameFlags::PASS,
            "namespace" | "pod" => NameFlags::NO_SERVICE,
            "endpoints-unknown" => NameFlags::ENDPOINTS_UNKNOWN,
            "repeated" => NameFlags::REPEATED,
            item => {
                if let Some(text) = item.strip_prefix("port:") {
                    ports.push(port(text));
                } else if let Some(text) = item.strip_prefix("target:") {
                    targets.push(target(text));
                } else {
                    addresses(item, &mut data);
                }
                continue;
            }
        };
        data.flags = data.flags.with(flag);
    }
    if !ports.is_empty() || !targets.is_empty() {
        let found = counted(ports, targets);
        let (own, endpoints) = if data.flags.contains(NameFlags::CLUSTER_IP) {
            (Some(found), None)
        } else {
            (None, Some(found))
        };
        data.details = Some(Box::new(Details { own, endpoints }));
    }
    data
}

/// Ports and targets, with the number of endpoints of each port. If the case declares no
/// port, there is one without declaration. A target without ports has all of them.
fn counted(ports: Vec<Port>, mut targets: Vec<Target>) -> Targets {
    let mut ports: Vec<_> = ports.into_iter().map(Some).collect();
    if ports.is_empty() {
        ports.push(None);
    }
    for target in &mut targets {
        if target.ports.is_empty() {
            target.ports = (0..ports.len()).collect();
        }
    }
    let endpoints = |has: &dyn Fn(&Target) -> bool| {
        let having = targets.iter().filter(|target| has(target));
        having.map(|target| target.addresses.len()).sum()
    };
    let count = |(place, port)| Counted {
        port,
        endpoints: endpoints(&|target| target.ports.contains(&place)),
    };
    Targets {
        ports: ports.into_iter().enumerate().map(count).collect(),
        endpoints: endpoints(&|_| true),
        targets: TargetSet::Each(targets),
    }
}

fn parsed<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is neither flag nor address, nor number"))
}

fn port(text: &str) -> Port {
    let [name, protocol, number] = text.split('/').collect::<Vec<_>>()[..] else {
        panic!("`{text}` is not `name/protocol/number`");
    };
    Port {
        name: name.into(),
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => panic!("`{other}` is no protocol"),
        },
        number: (number != "any").then(|| parsed(number)),
    }
}

fn target(text: &str) -> Target {
    let (label, rest) = text
        .split_once('=')
        .unwrap_or_else(|| panic!("`{text}` is not `label=address+address/port+port`"));
    let (addresses, ports) = rest.split_once('/').unwrap_or((rest, ""));
    let ports = ports.split('+').filter(|port| !port.is_empty());
    Target {
        label: (!label.is_empty()).then(|| label.into()),
        addresses: addresses.split('+').map(parsed).collect(),
        ports: ports.map(parsed).collect(),
    }
}

fn addresses(item: &str, data: &mut NameData) {
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    match (parsed(first), parsed(last)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => data
            .ipv4
            .extend((first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits)),
        (IpAddr::V6(first), IpAddr::V6(last)) => data
            .ipv6
            .extend((first.to_bits()..=last.to_bits()).map(Ipv6Addr::from_bits)),
        _ => panic!("`{item}` is of two families"),
    }
}
