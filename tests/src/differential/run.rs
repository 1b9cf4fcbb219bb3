//! Carries out a [`Plan`]: one cluster, its changes, and questions before and after them.

mod ask;
mod judge;

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use fastrand::Rng;
use headless_agent::records::EndpointScope;
use headless_ebpf::abi::PodsMode;
use tokio::runtime::Runtime;

use super::agent::{self, Agent};
use super::apiserver::ApiServer;
use super::cluster::{Change, Cluster, Object};
use super::coredns::{self, Choices, CoreDns};
use super::differences::{Exceptions, SERIAL};
use super::generator::{Generator, Sentinel};
use super::message::{Decoded, DnsName, Query};
use super::ours::Ours;
use super::report::Report;

/// A comparison to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Options of CoreDNS, of which headless gets the same.
    pub choices: Choices,
    /// The endpoint scope of headless. CoreDNS has [`EndpointScope::All`].
    pub endpoints: EndpointScope,
    /// Number of Services in the cluster.
    pub services: usize,
    /// Number of rounds. Each round changes the cluster and asks questions.
    pub rounds: usize,
    /// Number of questions in each round, and before the first round.
    pub questions: usize,
    /// Seed of cluster, changes and questions.
    pub seed: u64,
    /// Where the agent gets its objects; `None` if no agent runs. The agent uses its
    /// default endpoint scope for the source, so [`Self::endpoints`] must be this default.
    pub agent: Option<agent::Source>,
}

/// CoreDNS and headless over one cluster.
struct Comparison {
    plan: Plan,
    coredns: CoreDns,
    api: Arc<ApiServer>,
    /// Runs the API server until it is dropped.
    _runtime: Runtime,
    generator: Generator,
    cluster: Cluster,
    /// Number of changed labels.
    round: u32,
    ours: Ours,
    agent: Option<Agent>,
    exceptions: Exceptions,
    report: Report,
}

/// Carries out a plan. The calling thread moves into a new network namespace and stays
/// there.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    coredns::enter_namespace()?;
    let mut comparison = Comparison::new(plan)?;
    let mut rng = Rng::with_seed(plan.seed ^ 0x7175_6572);
    comparison.ask(rng.u64(..))?;
    for _ in 0..plan.rounds {
        comparison.change()?;
        comparison.ask(rng.u64(..))?;
    }
    Ok(comparison.report)
}

impl Comparison {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let Plan {
            choices,
            endpoints,
            services,
            seed,
            ..
        } = plan;
        let mut generator = Generator::new(*seed, choices.zone);
        let mut cluster = generator.cluster(*services);
        let (sentinel, names) = generator.sentinel();
        for object in sentinel {
            cluster.put(object);
        }
        if !choices.options.is_empty() {
            for object in cluster.objects_mut() {
                object.label(0);
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (api, address) =
            runtime.block_on(ApiServer::start(Ipv4Addr::LOCALHOST, cluster.objects()))?;
        let coredns = CoreDns::start(choices, address)?;
        let ours = Ours::new(choices, *endpoints, *seed)?;
        let start = |source| Agent::start(choices, source, &cluster, address);
        let agent = plan.agent.map(start);
        let mut comparison = Self {
            agent: agent.transpose()?,
            plan: plan.clone(),
            coredns,
            api,
            _runtime: runtime,
            generator,
            cluster,
            round: 0,
            ours,
            exceptions: Exceptions::default(),
            report: Report::default(),
        };
        let serial = comparison.wait_for_sentinel(&names)?;
        comparison.ours.read(&comparison.cluster, serial)?;
        Ok(comparison)
    }

    /// Waits until CoreDNS and the agent answer the sentinel's names. Returns the serial
    /// of CoreDNS's SOA.
    fn wait_for_sentinel(&mut self, sentinel: &Sentinel) -> anyhow::Result<u32> {
        let zone = DnsName::new(self.plan.choices.zone);
        let has_answer = |reply: &[u8]| {
            Decoded::new(reply)
                .is_ok_and(|reply| reply.rcode() == 0 && !reply.sections[0].is_empty())
        };
        let Sentinel {
            of_endpoints,
            of_service,
            pod,
        } = sentinel;
        let exposure = self.plan.choices.exposure();
        let mut names = Vec::new();
        if !exposure.no_endpoints {
            names.extend(of_endpoints);
        }
        if !exposure.ignore_empty {
            names.push(of_service);
        }
        // CoreDNS watches pods only in this mode.
        names.extend((self.plan.choices.pods == PodsMode::Verified).then_some(pod));
        for name in names {
            let query = Query::new(DnsName::new(name).followed_by(&zone), 1).bytes();
            self.coredns.wait_for(&query, has_answer)?;
            if let Some(agent) = &mut self.agent {
                agent.wait_for(&query, has_answer)?;
            }
        }
        let reply = self.coredns.ask(&Query::new(zone, 6).bytes())?;
        let reply = Decoded::new(&reply)?;
        let soa = reply.sections[0].first().context("no SOA record")?;
        let serial = soa.rest.split(' ').nth(SERIAL);
        let serial = serial.context("SOA record without serial")?;
        serial
            .parse()
            .with_context(|| format!("{serial} in {}", soa.rest))
    }

    /// The changes with labels on their objects, and each third Namespace and Service with other
    /// labels than before.
    fn relabelled(&mut self, changes: Vec<Change>) -> Vec<Change> {
        self.round += 1;
        let round = self.round;
        let is_moved = |object: &&Object| {
            let moves = matches!(object, Object::Namespace(_) | Object::Service(_));
            moves && object.name().len().is_multiple_of(3)
        };
        let moved = self.cluster.objects().filter(is_moved).cloned();
        let moved = moved.map(Change::Put).collect::<Vec<_>>();
        let mut changes = [changes, moved].concat();
        for change in &mut changes {
            let Change::Put(object) = change else {
                continue;
            };
            // A change may be of an object that a later one deletes.
            if !self.cluster.contains(&object.key()) {
                continue;
            }
            object.label(round);
            self.cluster.put(object.clone());
        }
        changes
    }

    /// Changes the cluster, for CoreDNS and headless alike.
    fn change(&mut self) -> anyhow::Result<()> {
        let count = self.plan.services / 4;
        let mut changes = self.generator.changes(&mut self.cluster, count);
        let (sentinel, names) = self.generator.sentinel();
        for object in sentinel {
            self.cluster.put(object.clone());
            changes.push(Change::Put(object));
        }
        if !self.plan.choices.options.is_empty() {
            changes = self.relabelled(changes);
        }
        self.api.apply(&changes);
        if let Some(agent) = &self.agent {
            agent.write(&self.cluster)?;
        }
        let serial = self.wait_for_sentinel(&names)?;
        self.ours.apply(&changes, serial)
    }
}
