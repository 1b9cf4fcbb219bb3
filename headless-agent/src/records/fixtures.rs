//! Objects for tests, each in one line.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::str::FromStr as _;

use hickory_proto::rr::Name;

use super::{Index, NameChange, Settings, TargetSet, Targets};
use crate::watch::{
    Alias, Endpoint, EndpointSlice, Event, Kind, Namespace, Object, ObjectRef, Pod, Port, Protocol,
    Service, ServiceKind,
};

pub(super) fn settings() -> Settings {
    Settings::new(Name::from_str("cluster.local.").unwrap())
}

/// An index that has read all lists, which hold the objects of these events.
pub(super) fn index(settings: Settings, events: Vec<Event>) -> Index {
    let mut index = Index::new(settings);
    index.apply_all(events);
    index.apply_all(Kind::ALL.map(Event::Restarted));
    index.set_serial(7);
    index
}

pub(super) fn namespace(name: &str) -> Event {
    Event::Apply(Object::Namespace(Namespace { name: name.into() }))
}

/// A Service. `kind` is `None` (headless), `-` (not served), addresses with commas between
/// them, or an external name. A port is `name/protocol/number`.
pub(super) fn service(namespace: &str, name: &str, kind: &str, ports: &[&str]) -> Event {
    let kind = match kind {
        "None" => ServiceKind::Headless,
        "-" => ServiceKind::Unserved,
        other => other
            .split(',')
            .map(str::parse)
            .collect::<Result<Box<[_]>, _>>()
            .map_or_else(
                |_| ServiceKind::ExternalName(other.into()),
                ServiceKind::ClusterIp,
            ),
    };
    Event::Apply(Object::Service(Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        ports: self::ports(ports),
        selector: true,
        partial: false,
        selected: true,
    }))
}

fn ports(texts: &[&str]) -> Box<[Port]> {
    let port = |text: &&str| {
        let mut parts = text.split('/');
        let mut next = || parts.next().expect("name/protocol/number");
        Port {
            name: next().into(),
            protocol: match next() {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                other => panic!("protocol {other}"),
            },
            number: next().parse().ok(),
        }
    };
    texts.iter().map(port).collect()
}

/// An EndpointSlice. `path` is `namespace/slice`. An endpoint is `address`,
/// `address=name` or `domain.name=label`.
pub(super) fn slice(path: &str, service: &str, ports: &[&str], endpoints: &[&str]) -> Event {
    let (namespace, name) = path.split_once('/').expect("namespace/slice");
    let endpoint = |(host, name): (&str, Option<&str>)| {
        let address = host.parse().ok()?;
        let name = name.map(Into::into);
        Some(Endpoint { address, name })
    };
    let alias = |(host, name): (&str, Option<&str>)| {
        let is_name = host.parse::<IpAddr>().is_err();
        is_name.then(|| Alias {
            target: host.into(),
            name: name.expect("a label").into(),
        })
    };
    let endpoints = || {
        endpoints.iter().map(|text| match text.split_once('=') {
            Some((host, name)) => (host, Some(name)),
            None => (*text, None),
        })
    };
    Event::Apply(Object::EndpointSlice(EndpointSlice {
        namespace: namespace.into(),
        name: name.into(),
        service: service.into(),
        ports: self::ports(ports),
        endpoints: endpoints().filter_map(endpoint).collect(),
        aliases: endpoints().filter_map(alias).collect(),
        partial: false,
        selected: true,
    }))
}

pub(super) fn pod(namespace: &str, name: &str, address: &str) -> Event {
    Event::Apply(Object::Pod(Pod {
        namespace: namespace.into(),
        name: name.into(),
        address: Some(address.parse().unwrap()),
        terminating: false,
    }))
}

/// A deletion. `path` is `namespace/name`, or the name of a Namespace.
pub(super) fn delete(kind: Kind, path: &str) -> Event {
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    Event::Delete(ObjectRef {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    })
}

/// Changes as text: `+name flags addresses own:PORTSxTARGETS
/// endpoints:PORTSxTARGETS` or `-name`.
pub(super) fn shown(changes: &[NameChange]) -> Vec<String> {
    changes
        .iter()
        .map(|NameChange { name, data }| match data {
            None => format!("-{name}"),
            Some(data) => {
                let ipv4 = data.ipv4.iter().map(ToString::to_string);
                let ipv6 = data.ipv6.iter().map(ToString::to_string);
                let head = [format!("+{name} {}", data.flags.0)];
                let details = data.details.as_deref();
                let own = details.and_then(|details| details.own.as_ref());
                let endpoints = details.and_then(|details| details.endpoints.as_ref());
                let details = [("own", own), ("endpoints", endpoints)]
                    .into_iter()
                    .filter_map(|(what, targets)| Some(format!("{what}:{}", summary(targets?))));
                let parts: Vec<_> = head
                    .into_iter()
                    .chain(ipv4)
                    .chain(ipv6)
                    .chain(details)
                    .collect();
                parts.join(" ")
            }
        })
        .collect()
}

/// The numbers of the ports, and the number of targets.
fn summary(details: &Targets) -> String {
    let ports = details.ports.iter().map(|counted| counted.port.as_ref());
    let number = |port: Option<&Port>| match port {
        None => "-".into(),
        Some(Port { number: None, .. }) => "any".into(),
        Some(Port {
            number: Some(number),
            ..
        }) => number.to_string(),
    };
    let numbers: Vec<String> = ports.map(number).collect();
    let targets = match &details.targets {
        TargetSet::Each(targets) => targets.len(),
        TargetSet::Addresses => details.endpoints,
    };
    format!("{}x{targets}", numbers.join(","))
}
