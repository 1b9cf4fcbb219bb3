//! `NetworkPolicy` objects and the Service of the cluster's DNS, reduced to whether pods may ask
//! the cluster's DNS.

use std::net::IpAddr;
use std::str::FromStr;

use crate::selector::{Labels, Selector};

/// Most parts of a policy that are kept: rules, ports, destinations, exceptions, and the labels,
/// expressions and values of its selectors. A policy with more allows nothing, so that its pods are
/// left to the node's stack.
pub const PARTS_MAX: usize = 128;

/// Most bytes of keys, values and names in these parts.
pub const PARTS_BYTES_MAX: usize = 16 << 10;

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// The pods of its namespace that it is about.
    pub pods: Selector,
    /// The packets over UDP that these pods may send; `None` where the policy does not restrict
    /// what they send.
    pub egress: Option<Box<[EgressRule]>>,
}

impl NetworkPolicy {
    /// Bytes that the policy takes.
    pub fn bytes(&self) -> usize {
        let rules = self.egress.iter().flatten().map(|rule| {
            let ports = rule.ports.iter().flatten().map(|port| {
                let name = match port {
                    PortRule::Name(name) => name.len(),
                    PortRule::All | PortRule::Range(..) => 0,
                };
                size_of::<PortRule>() + name
            });
            let peers = rule.peers.iter().flatten().map(|peer| {
                let below = match peer {
                    Peer::Block(block) => size_of_val(&*block.except),
                    Peer::Pods { namespaces, pods } => {
                        let namespaces = namespaces.as_ref().map_or(0, Selector::bytes);
                        namespaces + pods.bytes()
                    }
                    Peer::Unknown => 0,
                };
                size_of::<Peer>() + below
            });
            size_of::<EgressRule>() + ports.sum::<usize>() + peers.sum::<usize>()
        });
        size_of::<Self>() + self.pods.bytes() + rules.sum::<usize>()
    }
}

/// Packets over UDP that pods may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressRule {
    /// Their ports; `None` for all.
    pub ports: Option<Box<[PortRule]>>,
    /// Their destinations; `None` for all.
    pub peers: Option<Box<[Peer]>>,
}

/// Ports of UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRule {
    /// All.
    All,
    /// From the first to the last.
    Range(u16, u16),
    /// The port of a container that has this name.
    Name(Box<str>),
}

/// Destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Addresses.
    Block(Block),
    /// Pods.
    Pods {
        /// Their namespaces; `None` for the policy's own.
        namespaces: Option<Selector>,
        /// The pods in these namespaces.
        pods: Selector,
    },
    /// A destination that cannot be read.
    Unknown,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// These addresses,
    pub network: Network,
    /// but none of these.
    pub except: Box<[Network]>,
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u32::from(own) ^ u32::from(other);
                differing.leading_zeros() >= self.bits.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = u128::from(own) ^ u128::from(other);
                differing.leading_zeros() >= self.bits.into()
            }
            _ => false,
        }
    }
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address and the bits of its prefix")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = text.split_once('/').ok_or(NoNetwork)?;
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let bits = bits.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most)
            .then_some(Self { address, bits })
            .ok_or(NoNetwork)
    }
}

/// A port of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// Its number.
    Number(u16),
    /// The name that the pods' containers give it.
    Name(Box<str>),
}

/// The Service of the cluster's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsService {
    /// Its selector; `None` where it has none, so that nothing is known of its endpoints.
    pub labels: Option<Labels>,
    /// The ports of its pods to which packets for port 53 over UDP go.
    pub ports: Box<[TargetPort]>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1/32", "10.0.0.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fd12::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let found: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(found.contains(address), expected, "{network} {address}");
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "x/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }
}
