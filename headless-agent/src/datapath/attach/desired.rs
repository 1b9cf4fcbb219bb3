//! The programs that each interface should carry: a pure function of the operator's plan and
//! of facts about the node.

use std::collections::{BTreeMap, BTreeSet};

use headless_ebpf::abi::InterfaceRecord;

use crate::datapath::links::Link;
use crate::datapath::plan::{Hook, Plan, XdpMode};
use crate::datapath::snapshot::ProgramState;
use crate::policy::Mode;

/// Why native mode is refused on a veth.
const NATIVE_ON_VETH: &str = "native XDP on a veth loses XDP_TX unless the pod's end runs XDP \
     too, and takes the pod's segmentation offload away: use generic mode";

/// The way in which the tc program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcWay {
    /// By a `bpf_link`, which ends with the agent.
    Tcx,
    /// By a filter of a qdisc, which stays if the agent is killed.
    Clsact,
}

/// Why a program should not be on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The operator does not want this program.
    Unused,
    /// The pod is not to be answered.
    Off,
    /// The pod sends too much for it.
    Lifted,
    /// The interface leads out of the node.
    Uplink,
    /// The mode does not work on a veth.
    NativeOnVeth,
}

impl Absence {
    /// The state to show.
    pub fn state(self) -> ProgramState {
        match self {
            Self::Unused => ProgramState::Unused,
            Self::Off => ProgramState::Off,
            Self::Lifted => ProgramState::Lifted,
            Self::Uplink => ProgramState::Uplink,
            Self::NativeOnVeth => ProgramState::Refused(NATIVE_ON_VETH.into()),
        }
    }
}

/// How a program should be on an interface, or why it should not.
pub type Wish<Mode> = Result<Mode, Absence>;

/// The programs that one interface should carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The XDP program.
    pub xdp: Wish<XdpMode>,
    /// The tc program.
    pub tc: Wish<TcWay>,
    /// Largest reply in bytes, from the IP header on.
    pub mtu: u32,
    /// The facts about the interface that the tc program needs.
    pub record: InterfaceRecord,
}

/// Facts about the node.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its interfaces by index.
    pub links: &'a BTreeMap<u32, Link>,
    /// Interfaces that lead out of it.
    pub uplinks: &'a BTreeSet<u32>,
    /// Interfaces whose pods send too much for XDP.
    pub lifted: &'a BTreeSet<u32>,
    /// The modes of interfaces. For an interface without one, the plan's mode holds.
    pub modes: &'a BTreeMap<u32, Mode>,
}

/// The programs that each interface should carry, by the interface's index. An interface that
/// is not listed should carry no program and is not shown.
pub fn desired(plan: &Plan, way: TcWay, facts: Facts<'_>) -> BTreeMap<u32, Desired> {
    let chosen = facts.links.values();
    let chosen = chosen.filter(|link| plan.interfaces.choose(link));
    let desired = chosen.map(|link| (link.index, desired_of(plan, way, facts, link)));
    desired.collect()
}

fn desired_of(plan: &Plan, way: TcWay, facts: Facts<'_>, link: &Link) -> Desired {
    let mtu = mtu(facts.links, link);
    let mode = facts.modes.get(&link.index).copied().unwrap_or(plan.mode);
    let record = InterfaceRecord::new(mtu, link.veth && link.peer_elsewhere);
    let neither = if !plan.serve_uplink && facts.uplinks.contains(&link.index) {
        Some(Absence::Uplink)
    } else {
        (mode == Mode::Off).then_some(Absence::Off)
    };
    let xdp = if let Some(absence) = neither {
        Err(absence)
    } else if plan.hook == Hook::Tc || mode == Mode::Observe {
        Err(Absence::Unused)
    } else if plan.xdp == XdpMode::Native && link.veth {
        Err(Absence::NativeOnVeth)
    } else if plan.hook == Hook::Auto && facts.lifted.contains(&link.index) {
        Err(Absence::Lifted)
    } else {
        Ok(plan.xdp)
    };
    Desired {
        xdp,
        tc: neither.map_or(Ok(way), Err),
        mtu,
        record: match mode {
            Mode::Observe => record.observed(),
            Mode::On | Mode::Off => record,
        },
    }
}

/// The largest packet that the interface sends and its other end receives. An end in
/// another namespace gets the packet without its being measured (`bpf_redirect_peer`).
fn mtu(links: &BTreeMap<u32, Link>, link: &Link) -> u32 {
    let other = link.peer.filter(|_| !link.peer_elsewhere);
    let other = other.and_then(|peer| links.get(&peer));
    other.map_or(link.mtu, |other| link.mtu.min(other.mtu))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::datapath::lift::Traffic;
    use crate::datapath::plan::{InterfacePatterns, TcMode};

    const POD: u32 = 7;

    fn plan(hook: Hook, include: &[String]) -> Plan {
        Plan {
            hook,
            xdp: XdpMode::Generic,
            tc: TcMode::Auto,
            interfaces: InterfacePatterns::new(include, &[]).unwrap(),
            serve_uplink: false,
            mode: Mode::On,
            limits: Traffic::default(),
        }
    }

    fn links(links: &[Link]) -> BTreeMap<u32, Link> {
        let links = links.iter().cloned();
        links.map(|link| (link.index, link)).collect()
    }

    fn pod() -> Link {
        Link {
            veth: true,
            peer_elsewhere: true,
            peer: Some(2),
            mtu: 1450,
            ..Link::named(POD, "veth7")
        }
    }

    /// The programs that the pod's interface should carry.
    fn of_pod(plan: &Plan, uplinks: &[u32], lifted: &[u32]) -> Desired {
        let links = links(&[pod(), Link::named(1, "lo")]);
        let facts = Facts {
            links: &links,
            uplinks: &uplinks.iter().copied().collect(),
            lifted: &lifted.iter().copied().collect(),
            modes: &BTreeMap::new(),
        };
        let desired = desired(plan, TcWay::Tcx, facts);
        assert_eq!(desired.keys().copied().collect::<Vec<_>>(), [POD]);
        desired[&POD]
    }

    #[test]
    fn the_hook_decides_which_programs() {
        let expected = Desired {
            xdp: Ok(XdpMode::Generic),
            tc: Ok(TcWay::Tcx),
            mtu: 1450,
            record: InterfaceRecord::new(1450, true),
        };
        for hook in [Hook::Auto, Hook::Xdp] {
            assert_eq!(of_pod(&plan(hook, &[]), &[], &[]), expected);
        }
        let only_tc = Desired {
            xdp: Err(Absence::Unused),
            ..expected
        };
        assert_eq!(of_pod(&plan(Hook::Tc, &[]), &[], &[]), only_tc);
    }

    #[test]
    fn the_mode_of_the_interface_comes_before_that_of_the_node() {
        for node in Mode::ALL {
            for own in [None, Some(Mode::On), Some(Mode::Observe), Some(Mode::Off)] {
                let plan = Plan {
                    mode: node,
                    ..plan(Hook::Xdp, &[])
                };
                let modes = own.map(|mode| (POD, mode)).into_iter().collect();
                let links = links(&[pod()]);
                let facts = Facts {
                    links: &links,
                    uplinks: &BTreeSet::new(),
                    lifted: &BTreeSet::new(),
                    modes: &modes,
                };
                let found = desired(&plan, TcWay::Tcx, facts)[&POD];
                let programs = match own.unwrap_or(node) {
                    Mode::On => (Ok(XdpMode::Generic), Ok(TcWay::Tcx)),
                    Mode::Observe => (Err(Absence::Unused), Ok(TcWay::Tcx)),
                    Mode::Off => (Err(Absence::Off), Err(Absence::Off)),
                };
                assert_eq!((found.xdp, found.tc), programs, "{node} {own:?}");
                let observed = own.unwrap_or(node) == Mode::Observe;
                assert_eq!(found.record.is_observed(), observed, "{node} {own:?}");
            }
        }
    }

    #[test]
    fn a_busy_pod_has_tc_alone_where_the_agent_may_choose() {
        let lifted = |hook| of_pod(&plan(hook, &[]), &[], &[POD]);
        let auto = lifted(Hook::Auto);
        assert_eq!((auto.xdp, auto.tc), (Err(Absence::Lifted), Ok(TcWay::Tcx)));
        assert_eq!(lifted(Hook::Xdp).xdp, Ok(XdpMode::Generic));
    }

    #[test]
    fn the_uplink_carries_nothing_unless_it_is_to_be_served() {
        let uplink = (Err(Absence::Uplink), Err(Absence::Uplink));
        let named = |name: &str| plan(Hook::Auto, &[name.into()]);
        for plan in [plan(Hook::Auto, &[]), named("veth7"), named("*h7")] {
            let left_alone = of_pod(&plan, &[POD], &[]);
            assert_eq!((left_alone.xdp, left_alone.tc), uplink, "{plan:?}");
            let serve_uplink = true;
            let served = of_pod(
                &Plan {
                    serve_uplink,
                    ..plan
                },
                &[POD],
                &[],
            );
            assert_eq!(served.xdp, Ok(XdpMode::Generic));
            assert_eq!(served.tc, Ok(TcWay::Tcx));
        }
    }

    #[test]
    fn native_mode_is_for_other_interfaces_than_veths() {
        let native = Plan {
            xdp: XdpMode::Native,
            ..plan(Hook::Xdp, &["veth*".into(), "eth0".into()])
        };
        let links = links(&[pod(), Link::named(3, "eth0")]);
        let none = BTreeSet::new();
        let facts = Facts {
            links: &links,
            uplinks: &none,
            lifted: &none,
            modes: &BTreeMap::new(),
        };
        let desired = desired(&native, TcWay::Clsact, facts);
        assert_eq!(desired[&POD].xdp, Err(Absence::NativeOnVeth));
        assert_eq!(desired[&POD].tc, Ok(TcWay::Clsact));
        assert_eq!(desired[&3].xdp, Ok(XdpMode::Native));
    }

    #[test]
    fn the_smaller_mtu_of_two_ends_here_counts() {
        let end = |index, peer, mtu| Link {
            veth: true,
            peer: Some(peer),
            mtu,
            ..Link::named(index, "end")
        };
        let links = links(&[end(3, 4, 1500), end(4, 3, 1300), pod(), end(2, 9, 100)]);
        assert_eq!(mtu(&links, &links[&3]), 1300);
        assert_eq!(mtu(&links, &links[&4]), 1300);
        // Index 2 of another namespace is another interface.
        assert_eq!(mtu(&links, &links[&POD]), 1450);
        assert_eq!(mtu(&links, &links[&2]), 100, "its other end is not listed");
    }
}
