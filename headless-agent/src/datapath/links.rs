//! Which interfaces are pods'.

use globset::{Glob, GlobSet, GlobSetBuilder};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp};

use super::lift::Traffic;

/// What matters of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface, unique in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
    /// Whether its other end is in another network namespace.
    pub peer_elsewhere: bool,
    /// Index of its other end, or of what it is on; unique in the namespace of that.
    pub peer: Option<u32>,
    /// Largest packet in bytes, from the IP header on.
    pub mtu: u32,
    /// What it has received: of a veth, what the pod has sent.
    pub received: Option<Traffic>,
    /// Ids of the XDP programs it carries.
    pub programs: Vec<u32>,
}

impl Link {
    /// From a message of rtnetlink; `None` where it has no name.
    pub fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            veth: false,
            peer_elsewhere: false,
            peer: None,
            mtu: 0,
            received: None,
            programs: Vec::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                // IFLA_LINK_NETNSID, which the kernel adds only where the peer
                // is in another namespace (`rtnl_fill_link_netnsid`).
                LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Stats64(stats) => {
                    link.received = Some(Traffic {
                        bytes: stats.rx_bytes,
                        packets: stats.rx_packets,
                    });
                }
                LinkAttribute::LinkInfo(infos) => {
                    link.veth = infos
                        .iter()
                        .any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
                }
                LinkAttribute::Xdp(xdp) => {
                    link.programs = xdp
                        .iter()
                        .filter_map(|attribute| match attribute {
                            LinkXdp::ProgId(id)
                            | LinkXdp::DrvProgId(id)
                            | LinkXdp::SkbProgId(id)
                            | LinkXdp::HwProgId(id)
                                if *id != 0 =>
                            {
                                Some(*id)
                            }
                            _ => None,
                        })
                        .collect();
                }
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// Chooses the interfaces that get the program.
#[derive(Clone, Debug)]
pub struct Selection {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Selection {
    /// `include`: patterns of the names of interfaces that get the program,
    /// whatever their kind; without any, these are the veths whose other end is
    /// in another network namespace. `exclude`: patterns of names that never do.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        Ok(Self {
            include: if include.is_empty() {
                None
            } else {
                Some(patterns(include)?)
            },
            exclude: patterns(exclude)?,
        })
    }

    /// Whether this interface gets the program.
    pub fn selects(&self, link: &Link) -> bool {
        let Self { include, exclude } = self;
        let included = include.as_ref().map_or_else(
            || link.veth && link.peer_elsewhere,
            |patterns| patterns.is_match(&link.name),
        );
        included && !exclude.is_match(&link.name)
    }
}

fn patterns(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use netlink_packet_route::link::Stats64;

    use super::*;

    fn link(name: &str, veth: bool, peer_elsewhere: bool) -> Link {
        Link {
            index: 7,
            name: name.into(),
            veth,
            peer_elsewhere,
            peer: None,
            mtu: 1500,
            received: None,
            programs: Vec::new(),
        }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().copied().map(String::from).collect()
    }

    #[test]
    fn without_patterns_pods_veths_are_selected() {
        let selection = Selection::new(&[], &[]).unwrap();
        assert!(selection.selects(&link("veth1", true, true)));
        assert!(
            !selection.selects(&link("veth2", true, false)),
            "both ends here"
        );
        assert!(
            !selection.selects(&link("macvlan0", false, true)),
            "no veth"
        );
        assert!(!selection.selects(&link("eth0", false, false)));
    }

    #[test]
    fn patterns_replace_and_restrict() {
        let only = Selection::new(&names(&["cali*", "eth0"]), &names(&["cali9*"])).unwrap();
        assert!(only.selects(&link("cali1", true, true)));
        assert!(
            only.selects(&link("eth0", false, false)),
            "any kind by name"
        );
        assert!(!only.selects(&link("cali99", true, true)), "exclusion wins");
        assert!(!only.selects(&link("veth1", true, true)));

        let but = Selection::new(&[], &names(&["lxc_health"])).unwrap();
        assert!(!but.selects(&link("lxc_health", true, true)));
        assert!(but.selects(&link("lxc1", true, true)));
    }

    #[test]
    fn a_message_tells_what_the_link_is() {
        let mut stats = Stats64::default();
        (stats.rx_bytes, stats.rx_packets) = (700, 7);
        let mut message = LinkMessage::default();
        message.header.index = 12;
        message.attributes = vec![
            LinkAttribute::IfName("veth12".into()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            LinkAttribute::LinkNetNsId(3),
            LinkAttribute::Link(2),
            LinkAttribute::Mtu(1450),
            LinkAttribute::Stats64(stats),
            LinkAttribute::Xdp(vec![LinkXdp::ProgId(44), LinkXdp::SkbProgId(44)]),
        ];
        let link = Link::from_message(&message).unwrap();
        assert_eq!((link.index, link.name.as_str()), (12, "veth12"));
        assert!(link.veth && link.peer_elsewhere);
        assert_eq!(link.programs, [44, 44]);
        let received = Traffic {
            bytes: 700,
            packets: 7,
        };
        assert_eq!(
            (link.peer, link.mtu, link.received),
            (Some(2), 1450, Some(received))
        );
        assert_eq!(Link::from_message(&LinkMessage::default()), None, "no name");
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        assert!(Selection::new(&names(&["a[b"]), &[]).is_err());
    }
}
