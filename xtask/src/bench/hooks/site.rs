//! The lab: one node, a pod for each way of answering, all at once, so that
//! rounds can alternate without a restart between them.
//!
//! Each way has an agent of its own, for its pod's interface alone and with an
//! address of its own. What an agent does between queries is a heartbeat a
//! second.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sched::CpuSet;
use serde_json::Value;

use super::cluster::{self, SERVICES_LARGE, SERVICES_SMALL};
use super::coredns::CoreDns;
use crate::lab::agent::{Agent, AgentOptions, Hook};
use crate::lab::floor::{self, Floor};
use crate::lab::network::{self, Netns};
use crate::lab::pod::Pod;
use crate::lab::{self, mounts};
use crate::peers::{self, Peer};
use crate::{exec, latency};

/// Where the agent of the pod `xdp` answers, and the kernel does not.
pub(crate) const UNSERVED: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 9);

/// Where `CoreDNS` answers.
pub(crate) const COREDNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 8);

/// A pod with an agent of its own.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) pod: Pod,
    pub(crate) agent: Agent,
    /// What the pod asks.
    pub(crate) server: Ipv4Addr,
    /// Services of the cluster that it asks for.
    pub(crate) services: u32,
}

impl Served {
    /// What the agent tells.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn status(&self) -> Result<Value> {
        serde_json::from_slice(&self.agent.status().await?)
            .context("the agent's status is not JSON")
    }
}

/// The whole lab.
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

/// A pod that is to have an agent.
struct Plan {
    name: &'static str,
    hook: Hook,
    services: u32,
}

const PLANS: [Plan; 5] = [
    Plan {
        name: "xdp",
        hook: Hook::Xdp,
        services: SERVICES_SMALL,
    },
    Plan {
        name: "tc",
        hook: Hook::Tc,
        services: SERVICES_SMALL,
    },
    Plan {
        name: "auto",
        hook: Hook::Auto,
        services: SERVICES_SMALL,
    },
    Plan {
        name: "xdp-large",
        hook: Hook::Xdp,
        services: SERVICES_LARGE,
    },
    Plan {
        name: "tc-large",
        hook: Hook::Tc,
        services: SERVICES_LARGE,
    },
];

fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 20, 10 + number)
}

fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + number)
}

impl Site {
    /// Starts everything; returns when every agent, on `cpus` from then on, and
    /// `CoreDNS` are ready.
    ///
    /// # Errors
    /// When a part cannot be set up.
    pub(crate) async fn set_up(cpus: &CpuSet) -> Result<Self> {
        let servers: Vec<_> = (0..u8::try_from(PLANS.len())?).map(server).collect();
        network::set_up_node(&[servers.as_slice(), &[UNSERVED, COREDNS]].concat())?;
        let node = Arc::new(Netns::current()?);
        let bare = Pod::new(&node, "none", client(100), COREDNS)?;
        let mut served = Vec::new();
        for (number, plan) in (0..).zip(PLANS) {
            served.push(serve(&node, number, &plan, cpus).await?);
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
    /// When one had ended, or does not end.
    pub(crate) async fn stop(self) -> Result<()> {
        for served in [self.xdp, self.tc, self.auto, self.xdp_large, self.tc_large] {
            served.agent.stop().await?;
        }
        Ok(())
    }
}

async fn serve(node: &Netns, number: u8, plan: &Plan, cpus: &CpuSet) -> Result<Served> {
    let Plan {
        name,
        hook,
        services,
    } = *plan;
    let server = server(number);
    let pod = Pod::new(node, name, client(number), server)?;
    let manifests = mounts::scratch().join(format!("{services}-services"));
    if !manifests.exists() {
        fs::create_dir_all(&manifests)?;
        let text = cluster::manifest(&cluster::objects(services));
        fs::write(manifests.join("cluster.yaml"), text)?;
    }
    let mut arguments: Vec<OsString> = vec!["--interface".into(), pod.host_end().into()];
    if number == 0 {
        arguments.extend(["--listen-unserved".into(), UNSERVED.to_string().into()]);
    }
    let agent = Agent::start(&AgentOptions {
        binary: &lab::built_agent(),
        manifests: &manifests,
        listen: &[server],
        hook: Some(hook),
        admin: &format!("127.0.0.1:{}", 9153 + u16::from(number)),
        arguments: &arguments,
        verbose: false,
    })
    .await
    .with_context(|| format!("cannot serve the pod {name}"))?;
    latency::pin_process(agent.pid(), cpus)?;
    Ok(Served {
        pod,
        agent,
        server,
        services,
    })
}
