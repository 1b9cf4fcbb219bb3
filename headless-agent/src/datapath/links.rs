//! The properties of a network interface, read from messages of rtnetlink.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp};

use super::lift::Traffic;

/// The properties of a network interface that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface, unique in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
    /// Whether it is a bond or a team, which sends by the interfaces below it.
    pub bundle: bool,
    /// Whether its other end is in another network namespace.
    pub peer_elsewhere: bool,
    /// Index of a veth's other end, or of the interface below a VLAN and the like; unique
    /// in the namespace of that interface.
    pub peer: Option<u32>,
    /// Index of the bridge, bond or team that it is a port of.
    pub master: Option<u32>,
    /// Largest packet in bytes, from the IP header on.
    pub mtu: u32,
    /// Traffic that it has received: of a veth, the traffic that the pod has sent.
    pub received: Option<Traffic>,
    /// Ids of the XDP programs that it carries.
    pub programs: Vec<u32>,
}

impl Link {
    /// An interface of which no more is known.
    pub fn named(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.into(),
            veth: false,
            bundle: false,
            peer_elsewhere: false,
            peer: None,
            master: None,
            mtu: 0,
            received: None,
            programs: Vec::new(),
        }
    }

    /// Reads a message of rtnetlink; `None` where it is about a bridge's port and not
    /// about the interface ([`is_of_link`]), and where it has no name.
    pub fn from_message(message: &LinkMessage) -> Option<Self> {
        if !is_of_link(message) {
            return None;
        }
        let mut link = Self::named(message.header.index, "");
        for attribute in &message.attributes {
            link.read(attribute);
        }
        (!link.name.is_empty()).then_some(link)
    }

    fn read(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            // IFLA_LINK_NETNSID, which the kernel adds only where the peer
            // is in another namespace (`rtnl_fill_link_netnsid`).
            LinkAttribute::LinkNetNsId(_) => self.peer_elsewhere = true,
            LinkAttribute::Link(index) => self.peer = Some(*index),
            LinkAttribute::Controller(index) => self.master = Some(*index),
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Stats64(stats) => {
                self.received = Some(Traffic {
                    bytes: stats.rx_bytes,
                    packets: stats.rx_packets,
                });
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        self.veth = *kind == InfoKind::Veth;
                        self.bundle =
                            *kind == InfoKind::Bond || *kind == InfoKind::Other("team".into());
                    }
                }
            }
            LinkAttribute::Xdp(xdp) => {
                let ids = xdp.iter().filter_map(program_id);
                self.programs = ids.collect();
            }
            _ => {}
        }
    }
}

/// Whether a message is about an interface. `RTM_NEWLINK` and `RTM_DELLINK` of the family
/// `AF_BRIDGE` are about an interface's part in a bridge: the interface is there before
/// and after (`br_ifinfo_notify`).
pub fn is_of_link(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn program_id(attribute: &LinkXdp) -> Option<u32> {
    match attribute {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id)
            if *id != 0 =>
        {
            Some(*id)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use netlink_packet_route::link::Stats64;

    use super::*;

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
        assert!(!link.bundle && link.master.is_none());
        assert_eq!(Link::from_message(&LinkMessage::default()), None, "no name");
    }

    /// Otherwise a port that a bridge lets go looks like an interface that is gone.
    #[test]
    fn a_message_about_a_bridges_port_is_not_about_the_link() {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName("veth12".into())];
        assert!(Link::from_message(&message).is_some());
        message.header.interface_family = AddressFamily::Bridge;
        assert!(!is_of_link(&message));
        assert_eq!(Link::from_message(&message), None);
    }
}
