//! The lab: one node, and a pod for each path of a query. All run at the same time, so
//! rounds alternate without restarts.
//!
//! Each path has an agent of its own, with an address of its own and only its pod's
//! interface. Between queries, an agent does no more than one heartbeat a second.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use nix::sched::CpuSet;

use super::coredns::CoreDns;
use crate::bench::cluster::{self, SERVICES_LARGE, SERVICES_SMALL};
use crate::bench::served::{Plan, Served, client, server};
use crate::exec;
use crate::lab;
use crate::lab::agent::Hook;
use crate::lab::floor::{self, Floor};
use crate::lab::network::{self, Netns};
use crate::lab::pod::Pod;
use crate::peers::{self, Peer};

/// An address on which the agent of the pod `xdp` answers, and the kernel does not.
pub(crate) const UNSERVED: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 9);

/// The address of `CoreDNS`.
pub(crate) const COREDNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 8);

/// The lab of all measurements.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) node: Arc<Netns>,
    /// The pod whose interface has no program.
    pub(crate) bare: Pod,
    pub(crate) xdp: Served,
    pub(crate) tc: Served,
    pub(crate) auto: Served,
    pub(crate) xdp_large: Served,
    pub(crate) tc_large: Served,
    pub(crate) floor: Floor,
    _coredns: CoreDns,
}

/// The pods that have an agent: name, hook, Services of the cluster.
const PLANS: [(&str, Hook, u32); 5] = [
    ("xdp", Hook::Xdp, SERVICES_SMALL),
    ("tc", Hook::Tc, SERVICES_SMALL),
    ("auto", Hook::Auto, SERVICES_SMALL),
    ("xdp-large", Hook::Xdp, SERVICES_LARGE),
    ("tc-large", Hook::Tc, SERVICES_LARGE),
];

impl Site {
    /// Starts everything. Returns when all agents and `CoreDNS` are ready. The agents run
    /// on `cpus` from then on.
    ///
    /// # Errors
    /// When a part cannot be set up.
    pub(crate) async fn set_up(cpus: &CpuSet) -> Result<Self> {
        let servers: Vec<_> = (0..u8::try_from(PLANS.len())?).map(server).collect();
        network::set_up_node(&[servers.as_slice(), &[UNSERVED, COREDNS]].concat())?;
        let node = Arc::new(Netns::current()?);
        let bare = Pod::new(&node, "none", client(100), COREDNS)?;
        let mut served = Vec::new();
        for (number, (name, hook, services)) in (0..).zip(PLANS) {
            let plan = Plan {
                name,
                hook,
                services,
                binary: &lab::built_agent(),
                unserved: (number == 0).then_some(UNSERVED),
            };
            served.push(Served::start(&node, number, &plan, cpus).await?);
        }
        let [xdp, tc, auto, xdp_large, tc_large] = <[Served; PLANS.len()]>::try_from(served)
            .map_err(|_| anyhow::anyhow!("a pod is missing"))?;
        let floor = Floor::new(&exec::target().join(floor::OBJECT))?;
        let program = peers::path(Peer::Coredns)?;
        let coredns =
            CoreDns::start(&program, COREDNS, cluster::objects(SERVICES_SMALL), cpus).await?;
        Ok(Self {
            node,
            bare,
            xdp,
            tc,
            auto,
            xdp_large,
            tc_large,
            floor,
            _coredns: coredns,
        })
    }

    /// Stops the agents.
    ///
    /// # Errors
    /// When an agent has ended before, or does not end.
    pub(crate) async fn stop(self) -> Result<()> {
        for served in [self.xdp, self.tc, self.auto, self.xdp_large, self.tc_large] {
            served.agent.stop().await?;
        }
        Ok(())
    }
}
