//! Zones and addresses of server blocks (`plugin/normalize.go`, `core/dnsserver/register.go`).
//!
//! A zone is a name in small letters with its final dot: `cluster.local.`, or `.` for the root.

use std::net::IpAddr;

/// The zones of reverse names.
pub(super) const REVERSE_ZONES: [&str; 2] = ["in-addr.arpa.", "ip6.arpa."];

/// The port of DNS.
pub(super) const DNS_PORT: u16 = 53;

/// An address of a server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The zones: more than one for a network whose prefix ends within a label.
    pub(super) zones: Vec<String>,
    /// The port; `None` where the block does not serve plain DNS.
    pub(super) port: Option<u16>,
}

impl Address {
    /// Parses an address: `[TRANSPORT://]ZONE[:PORT]`. `None` where CoreDNS refuses it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (transport, host) = text.split_once("://").unwrap_or(("dns", text));
        let is_dns = match transport {
            "dns" => true,
            "tls" | "quic" | "grpc" | "https" | "https3" => false,
            _ => return None,
        };
        let (host, port) = split_port(host)?;
        if host.contains("://") {
            return None;
        }
        Some(Self {
            zones: zones_of(host)?,
            port: is_dns.then(|| port.unwrap_or(DNS_PORT)),
        })
    }
}

/// Splits off a port, if digits follow the last colon. `None` where nothing follows it.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    match host.rsplit_once(':') {
        Some((_, "")) => None,
        Some((before, port)) => match port.parse() {
            Ok(port) => Some((before, Some(port))),
            Err(_) => Some((host, None)),
        },
        None => Some((host, None)),
    }
}

/// The zones that an argument of a plugin names. Empty where CoreDNS ignores the argument.
pub(super) fn argument_zones(text: &str) -> Vec<String> {
    Address::parse(text).map_or(Vec::new(), |address| address.zones)
}

/// The zones of a name, or of a network in CIDR notation. `None` where it is neither.
fn zones_of(host: &str) -> Option<Vec<String>> {
    if let Some((address, prefix)) = host.split_once('/')
        && let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u32>())
        && prefix <= if address.is_ipv4() { 32 } else { 128 }
    {
        return Some(reverse_zones(address, prefix));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_name = name.len() < 254
        && (name.is_empty() || name.split('.').all(|it| (1..64).contains(&it.len())));
    is_name.then(|| vec![fqdn(host)])
}

/// The name in small letters, with a final dot.
pub(super) fn fqdn(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}

/// The reverse zones that make up a network: the network is split at the next label's end.
fn reverse_zones(address: IpAddr, prefix: u32) -> Vec<String> {
    let (bits, per_label, suffix) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 8, REVERSE_ZONES[0]),
        IpAddr::V6(address) => (address.to_bits(), 4, REVERSE_ZONES[1]),
    };
    let split = prefix.next_multiple_of(per_label);
    let first = if prefix == 0 {
        0
    } else {
        bits >> (128 - prefix) << (split - prefix)
    };
    let labels = split / per_label;
    let zone = |network: u128| {
        let mut zone = String::new();
        for i in 0..labels {
            let label = network >> (i * per_label) & ((1 << per_label) - 1);
            let label = match address {
                IpAddr::V4(_) => label.to_string(),
                IpAddr::V6(_) => format!("{label:x}"),
            };
            zone.push_str(&label);
            zone.push('.');
        }
        zone + suffix
    };
    (0..1 << (split - prefix))
        .map(|i| zone(first + i))
        .collect()
}

/// Whether `name` is `zone` or a name below it.
pub(super) fn covers(zone: &str, name: &str) -> bool {
    zone == "."
        || name
            .strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether the zones have names in common: one of them is the other, or below it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_zones_and_ports() {
        let parse = |text| Address::parse(text).map(|it| (it.zones.join(" "), it.port));
        let is = |text, zones: &str, port| assert_eq!(parse(text), Some((zones.into(), port)));
        is(".", ".", Some(53));
        is(".:5353", ".", Some(5353));
        is("Cluster.Local", "cluster.local.", Some(53));
        is("dns://example.org:1053", "example.org.", Some(1053));
        is("tls://.", ".", None);
        is("10.0.0.0/8", "10.in-addr.arpa.", Some(53));
        is(
            "10.96.0.0/15:53",
            "96.10.in-addr.arpa. 97.10.in-addr.arpa.",
            Some(53),
        );
        is("0.0.0.0/0", "in-addr.arpa.", Some(53));
        is("2001:db8::/32", "8.b.d.0.1.0.0.2.ip6.arpa.", Some(53));
        is(
            "2001:db8::/31",
            "8.b.d.0.1.0.0.2.ip6.arpa. 9.b.d.0.1.0.0.2.ip6.arpa.",
            Some(53),
        );
        for text in [".:", "a..b", "foo://.", "dns://dns://."] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn zones_cover_names_at_labels() {
        assert!(covers(".", "a.") && covers("a.b.", "a.b.") && covers("b.", "a.b."));
        assert!(!covers("b.", "ab.") && !covers("a.b.", "b."));
        assert!(overlap("a.b.", "b.") && !overlap("a.b.", "c.b."));
    }
}
