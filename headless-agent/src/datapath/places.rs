//! Finds the interfaces behind which the addresses of pods are, from the host's routes, its
//! neighbours and the forwarding tables of its bridges. No container runtime is asked.
//!
//! - CNI plugins that route to each pod (ptp, Calico, the VPC plugins of clouds) have a host route
//!   (/32 or /128) by the pod's interface.
//! - Plugins with a bridge have a neighbour of the bridge, whose Ethernet address is behind a port
//!   in the bridge's forwarding table. Both exist once the pod and the host have exchanged
//!   packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::Handle;

use super::links::Link;
use super::routes;

/// The interfaces by which each address is reached, by index.
pub type Places = BTreeMap<IpAddr, BTreeSet<u32>>;

/// Bits of an IPv4 and of an IPv6 address.
const HOST_PREFIXES: [(AddressFamily, u8); 2] =
    [(AddressFamily::Inet, 32), (AddressFamily::Inet6, 128)];

/// A neighbour with a known Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Neighbour {
    address: IpAddr,
    ethernet: Vec<u8>,
    /// The interface that it is a neighbour of.
    index: u32,
}

/// The bridge and the Ethernet address of an entry of a forwarding table.
type Station = (u32, Vec<u8>);

/// The ports behind which the stations are that are looked for. Bridges learn addresses without
/// limit, so a pod that sends from many of them fills the kernel's table, but not this one.
struct Forwarding(BTreeMap<Station, BTreeSet<u32>>);

impl Forwarding {
    /// No port of the stations of these neighbours.
    fn of(neighbours: &[Neighbour], bridges: &BTreeSet<u32>, links: &BTreeMap<u32, Link>) -> Self {
        let stations = neighbours.iter().filter_map(|neighbour| {
            let bridge = bridge_of(neighbour, bridges, links)?;
            Some(((bridge, neighbour.ethernet.clone()), BTreeSet::new()))
        });
        Self(stations.collect())
    }

    /// Takes an entry of a forwarding table, if its station is looked for.
    fn take(&mut self, message: &NeighbourMessage) {
        if let Some((station, port)) = forwarded(message)
            && let Some(ports) = self.0.get_mut(&station)
        {
            ports.insert(port);
        }
    }
}

/// The places of these addresses, as far as the kernel knows them. `links` are the interfaces of
/// the host by index.
///
/// # Errors
/// Where rtnetlink does not answer.
pub async fn places(
    requests: &Handle,
    addresses: &BTreeSet<IpAddr>,
    links: &BTreeMap<u32, Link>,
) -> anyhow::Result<Places> {
    let bridges: BTreeSet<u32> = links.values().filter_map(|link| link.master).collect();
    let mut places = Places::new();
    for (family, bits) in HOST_PREFIXES {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut listed = requests.route().get(request).execute();
        while let Some(route) = listed.try_next().await.context("cannot list the routes")? {
            let destination = host_route(&route, bits);
            if let Some(address) = destination.filter(|it| addresses.contains(it)) {
                // A route by a bridge does not tell the port.
                let mut indices = routes::interfaces(&route);
                indices.retain(|index| !bridges.contains(index));
                if !indices.is_empty() {
                    places.entry(address).or_default().extend(indices);
                }
            }
        }
    }
    let left: BTreeSet<IpAddr> = addresses
        .iter()
        .filter(|it| !places.contains_key(it))
        .copied()
        .collect();
    if left.is_empty() {
        return Ok(places);
    }
    let mut neighbours = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let take = |message: &NeighbourMessage| {
            neighbours.extend(neighbour(message).filter(|it| left.contains(&it.address)));
        };
        each(requests, family, take).await?;
    }
    let mut forwarding = Forwarding::of(&neighbours, &bridges, links);
    if !forwarding.0.is_empty() {
        each(requests, AddressFamily::Bridge, |it| forwarding.take(it)).await?;
    }
    for neighbour in neighbours {
        let indices = behind(&neighbour, &bridges, &forwarding, links);
        if !indices.is_empty() {
            places.entry(neighbour.address).or_default().extend(indices);
        }
    }
    Ok(places)
}

/// Takes the entries of a table one by one: a pod may have made it very long.
async fn each(
    requests: &Handle,
    family: AddressFamily,
    mut take: impl FnMut(&NeighbourMessage),
) -> anyhow::Result<()> {
    let mut request = requests.neighbours().get();
    request.message_mut().header.family = family;
    let mut listed = request.execute();
    while let Some(message) = listed
        .try_next()
        .await
        .context("cannot list the neighbours")?
    {
        take(&message);
    }
    Ok(())
}

/// The destination of a route to one address.
fn host_route(message: &RouteMessage, bits: u8) -> Option<IpAddr> {
    if message.header.destination_prefix_length != bits || message.header.kind != RouteType::Unicast
    {
        return None;
    }
    message.attributes.iter().find_map(|it| match it {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

/// Reads an entry of the neighbour table; `None` where no Ethernet address is known.
fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let known = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let address = message.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(IpAddr::from(*address))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some(IpAddr::from(*address))
        }
        _ => None,
    });
    known.then_some(Neighbour {
        address: address?,
        ethernet: ethernet(message)?,
        index: message.header.ifindex,
    })
}

fn ethernet(message: &NeighbourMessage) -> Option<Vec<u8>> {
    message.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::LinkLocalAddress(bytes) => Some(bytes.clone()),
        _ => None,
    })
}

/// Reads an entry of a bridge's forwarding table: bridge and Ethernet address, and port. `None`
/// for the address of the port itself, which the kernel lists as permanent.
fn forwarded(message: &NeighbourMessage) -> Option<(Station, u32)> {
    if message.header.state == NeighbourState::Permanent {
        return None;
    }
    let bridge = message.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::Controller(bridge) => Some(*bridge),
        _ => None,
    });
    Some(((bridge?, ethernet(message)?), message.header.ifindex))
}

/// The bridge that a neighbour is one of, directly or by a VLAN on the bridge.
fn bridge_of(
    neighbour: &Neighbour,
    bridges: &BTreeSet<u32>,
    links: &BTreeMap<u32, Link>,
) -> Option<u32> {
    let below = links.get(&neighbour.index).and_then(|link| link.peer);
    let mut candidates = [Some(neighbour.index), below].into_iter().flatten();
    candidates.find(|it| bridges.contains(it))
}

/// The interfaces behind which a neighbour is. A neighbour of a bridge is behind a port.
fn behind(
    neighbour: &Neighbour,
    bridges: &BTreeSet<u32>,
    forwarding: &Forwarding,
    links: &BTreeMap<u32, Link>,
) -> BTreeSet<u32> {
    let Some(bridge) = bridge_of(neighbour, bridges, links) else {
        return [neighbour.index].into();
    };
    let ports = forwarding.0.get(&(bridge, neighbour.ethernet.clone()));
    ports.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const POD: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn entry(index: u32, state: NeighbourState, rest: &[NeighbourAttribute]) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.state = state;
        message.attributes = rest.to_vec();
        message
    }

    fn of_pod() -> NeighbourAttribute {
        NeighbourAttribute::LinkLocalAddress(POD.to_vec())
    }

    fn address() -> NeighbourAttribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 1].into()))
    }

    #[test]
    fn only_routes_to_one_address_tell() {
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.header.destination_prefix_length = 32;
        let to = RouteAddress::Inet([10, 0, 0, 1].into());
        route.attributes = vec![RouteAttribute::Destination(to)];
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(host_route(&route, 32), Some(address));
        assert_eq!(host_route(&route, 128), None);
        route.header.kind = RouteType::Local;
        assert_eq!(host_route(&route, 32), None, "an address of the host");
        route.header.kind = RouteType::Unicast;
        route.header.destination_prefix_length = 24;
        assert_eq!(host_route(&route, 32), None, "a subnet");
    }

    #[test]
    fn a_neighbour_counts_while_its_ethernet_address_is_known() {
        for (state, known) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Permanent, true),
            (NeighbourState::Failed, false),
            (NeighbourState::Incomplete, false),
        ] {
            let found = neighbour(&entry(3, state, &[address(), of_pod()]));
            assert_eq!(found.is_some(), known, "{state:?}");
        }
        assert_eq!(
            neighbour(&entry(3, NeighbourState::Stale, &[address()])),
            None
        );
    }

    #[test]
    fn a_forwarding_table_tells_the_port() {
        let bridge = NeighbourAttribute::Controller(3);
        let learned = entry(7, NeighbourState::Reachable, &[of_pod(), bridge.clone()]);
        assert_eq!(forwarded(&learned), Some(((3, POD.to_vec()), 7)));
        let own = entry(7, NeighbourState::Permanent, &[of_pod(), bridge]);
        assert_eq!(forwarded(&own), None, "the port's own address");
        let device = entry(7, NeighbourState::Reachable, &[of_pod()]);
        assert_eq!(forwarded(&device), None, "of no bridge");
    }

    #[test]
    fn only_the_stations_of_pods_are_kept() {
        let port = Link {
            master: Some(3),
            ..Link::named(7, "x")
        };
        let pod = Neighbour {
            address: "10.0.0.1".parse().unwrap(),
            ethernet: POD.to_vec(),
            index: 3,
        };
        let links = [(7, port)].into();
        let mut forwarding = Forwarding::of(&[pod], &[3].into(), &links);
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            let station = NeighbourAttribute::LinkLocalAddress(vec![6, 0, 0, 0, high, low]);
            let rest = [station, NeighbourAttribute::Controller(3)];
            forwarding.take(&entry(7, NeighbourState::Reachable, &rest));
        }
        let elsewhere = [of_pod(), NeighbourAttribute::Controller(4)];
        forwarding.take(&entry(8, NeighbourState::Reachable, &elsewhere));
        assert_eq!(forwarding.0, [((3, POD.to_vec()), [].into())].into());
        let own = [of_pod(), NeighbourAttribute::Controller(3)];
        forwarding.take(&entry(7, NeighbourState::Reachable, &own));
        assert_eq!(forwarding.0, [((3, POD.to_vec()), [7].into())].into());
    }

    #[test]
    fn a_neighbour_of_a_bridge_is_behind_a_port() {
        let link = |index, master, peer| Link {
            peer,
            master,
            ..Link::named(index, "x")
        };
        // 3 is a bridge with the ports 7 and 8, 4 a VLAN on it, 5 a veth.
        let links = [
            link(3, None, None),
            link(4, None, Some(3)),
            link(5, None, Some(90)),
            link(7, Some(3), Some(91)),
            link(8, Some(3), Some(92)),
        ];
        let links: BTreeMap<u32, Link> = links.into_iter().map(|it| (it.index, it)).collect();
        let forwarding = Forwarding([((3, POD.to_vec()), BTreeSet::from([7]))].into());
        let behind = |index, ethernet: &[u8]| {
            let neighbour = Neighbour {
                address: "10.0.0.1".parse().unwrap(),
                ethernet: ethernet.to_vec(),
                index,
            };
            behind(&neighbour, &[3].into(), &forwarding, &links)
        };
        assert_eq!(behind(3, &POD), [7].into());
        assert_eq!(behind(4, &POD), [7].into());
        assert_eq!(behind(3, &[2, 0, 0, 0, 0, 9]), [].into());
        assert_eq!(behind(5, &POD), [5].into());
    }
}
