//! Finds uplinks: interfaces that lead out of the node, because they carry a default route.
//!
//! Where the node is itself a container, its uplink is a veth like the pods' and would be
//! taken for one.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use super::links::Link;

/// Whether this is a default route, of IPv4 or IPv6, of the main table. Other tables hold
/// routes for chosen packets (policy routing), which may well lead to a pod.
pub fn is_default(message: &RouteMessage) -> bool {
    let table = message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Table(table) = attribute else {
            return None;
        };
        Some(*table)
    });
    message.header.destination_prefix_length == 0
        && message.header.kind == RouteType::Unicast
        && table.unwrap_or(message.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// Indices of the interfaces by which a route sends.
pub fn interfaces(message: &RouteMessage) -> Vec<u32> {
    let mut found = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(*index),
            RouteAttribute::MultiPath(hops) => {
                found.extend(hops.iter().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    found
}

/// The interfaces of default routes with the interfaces below them, by which a VLAN, a
/// bond or a team sends. The ports of a bridge are not among them: pods are ports, too.
pub fn carriers(routes: &BTreeSet<u32>, links: &BTreeMap<u32, Link>) -> BTreeSet<u32> {
    let mut carriers = BTreeSet::new();
    let mut left: Vec<u32> = routes.iter().copied().collect();
    while let Some(index) = left.pop() {
        if !carriers.insert(index) {
            continue;
        }
        let Some(link) = links.get(&index) else {
            continue;
        };
        if !link.veth && !link.peer_elsewhere {
            left.extend(link.peer);
        }
        if link.bundle {
            let ports = links.values().filter(|port| port.master == Some(index));
            left.extend(ports.map(|port| port.index));
        }
    }
    carriers
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    fn default_route() -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(7)];
        message
    }

    #[test]
    fn a_default_route_of_the_main_table_counts() {
        let route = default_route();
        assert!(is_default(&route));
        assert_eq!(interfaces(&route), [7]);

        let mut other = route.clone();
        other.header.destination_prefix_length = 24;
        assert!(!is_default(&other), "a subnet's");
        let mut other = route.clone();
        other.header.kind = RouteType::Unreachable;
        assert!(!is_default(&other), "leads nowhere");
        let mut other = route.clone();
        other.header.table = 100;
        assert!(!is_default(&other), "policy routing");
        let mut other = route;
        other.attributes.push(RouteAttribute::Table(1000));
        assert!(!is_default(&other), "a table beyond a byte");
    }

    #[test]
    fn every_path_of_a_route_counts() {
        let mut route = default_route();
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        route.attributes = vec![RouteAttribute::MultiPath(vec![hop(3), hop(4)])];
        assert_eq!(interfaces(&route), [3, 4]);
    }

    #[test]
    fn interfaces_below_carry_the_route_too() {
        let link = |index| Link::named(index, "x");
        let veth = |index, peer| Link {
            veth: true,
            peer: Some(peer),
            ..link(index)
        };
        // 1: a VLAN on the bond 2 of the ports 3 and 4; 5: a bridge with the port 6; 7 and 8:
        // a veth pair.
        let links = [
            Link {
                peer: Some(2),
                ..link(1)
            },
            Link {
                bundle: true,
                ..link(2)
            },
            Link {
                master: Some(2),
                ..veth(3, 90)
            },
            Link {
                master: Some(2),
                ..veth(4, 91)
            },
            link(5),
            Link {
                master: Some(5),
                ..veth(6, 92)
            },
            veth(7, 8),
            veth(8, 7),
        ];
        let links = links.into_iter().map(|link| (link.index, link)).collect();
        let carriers = |routes: &[u32]| {
            let found = carriers(&routes.iter().copied().collect(), &links);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(carriers(&[1]), [1, 2, 3, 4]);
        assert_eq!(carriers(&[5]), [5]);
        assert_eq!(carriers(&[7]), [7]);
        assert_eq!(carriers(&[99]), [99], "not listed yet");
        assert!(carriers(&[]).is_empty());
    }
}
