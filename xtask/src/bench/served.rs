//! Pods that have an agent of their own, which answers their questions.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sched::CpuSet;
use serde_json::Value;

use super::cluster;
use crate::lab::agent::{Agent, AgentOptions, Hook};
use crate::lab::mounts;
use crate::lab::network::Netns;
use crate::lab::pod::Pod;
use crate::latency;

/// A pod with an agent of its own.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) pod: Pod,
    pub(crate) agent: Agent,
    /// The address that the pod sends its questions to.
    pub(crate) server: Ipv4Addr,
    /// Number of Services in the cluster that the agent serves.
    pub(crate) services: u32,
}

/// The description of a pod that shall have an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) hook: Hook,
    /// Number of Services in the cluster that the agent serves.
    pub(crate) services: u32,
    /// The agent's program.
    pub(crate) binary: &'a Path,
    /// An address on which the agent answers, but not the kernel.
    pub(crate) unserved: Option<Ipv4Addr>,
}

/// The address that pod `number` sends its questions to.
pub(crate) fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 20, 10 + number)
}

/// The address of pod `number`.
pub(crate) fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + number)
}

impl Served {
    /// Makes pod `number` on the node and starts its agent, which runs on `cpus`
    /// once it is ready.
    ///
    /// # Errors
    /// When the pod cannot be made, or the agent is not ready in time.
    pub(crate) async fn start(
        node: &Netns,
        number: u8,
        plan: &Plan<'_>,
        cpus: &CpuSet,
    ) -> Result<Self> {
        let Plan {
            name,
            hook,
            services,
            binary,
            unserved,
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
        if let Some(address) = unserved {
            arguments.extend(["--listen-unserved".into(), address.to_string().into()]);
        }
        let agent = Agent::start(&AgentOptions {
            binary,
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
        Ok(Self {
            pod,
            agent,
            server,
            services,
        })
    }

    /// The agent's status.
    ///
    /// # Errors
    /// When the agent does not give it.
    pub(crate) async fn status(&self) -> Result<Value> {
        serde_json::from_slice(&self.agent.status().await?)
            .context("the agent's status is not JSON")
    }

    /// The kernel's id of the agent's program `xdp` or `tc`.
    ///
    /// # Errors
    /// When the agent has no such program.
    pub(crate) async fn program_id(&self, program: &str) -> Result<u32> {
        let id = self.status().await?["programs"][program]["id"].as_u64();
        let id = id.with_context(|| format!("the agent has no program {program}"))?;
        Ok(u32::try_from(id)?)
    }

    /// Checks, by the agent's counters, that the program `xdp` or `tc` has answered
    /// `asked` questions since the status `before`.
    ///
    /// # Errors
    /// When the counter says less.
    pub(crate) async fn ensure_answered(
        &self,
        before: &Value,
        program: &str,
        asked: u64,
    ) -> Result<()> {
        let counted = counted(before, &self.status().await?, program);
        ensure!(
            counted >= asked,
            "{program} answered {counted} of {asked} questions of the pod {}",
            self.pod.name()
        );
        Ok(())
    }
}

/// Number of answers that `who` (`xdp`, `tc` or `agent`) gave between two statuses.
pub(crate) fn counted(before: &Value, after: &Value, who: &str) -> u64 {
    let count = |status: &Value| status["answers"][who].as_u64().unwrap_or_default();
    count(after).saturating_sub(count(before))
}
