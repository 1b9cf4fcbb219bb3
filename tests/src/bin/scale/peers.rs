//! Starts each peer, measures it, and asks it while the cluster changes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use headless_tests::frame::SERVER;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answers;
use crate::api::ApiServer;
use crate::changes::{Changes, Latency};
use crate::cluster::Cluster;
use crate::histogram::{Bounds, Histogram};
use crate::plan::Plan;
use crate::process::{Memory, Process, SOCKET};
use crate::site::Site;

/// The port of the agent's admin endpoint, and of CoreDNS's metrics.
const ADMIN: u16 = 9153;

/// The name of the agent's histogram.
const PROGRAMMING: &str = "headless_dns_programming_duration_seconds";

/// The figures of both peers.
#[derive(Debug, Serialize)]
pub(crate) struct Common {
    /// Questions whose answers were compared with the cluster before the changes.
    pub(crate) checked: u64,
    /// From the start until the peer is ready, in seconds.
    pub(crate) sync: f64,
    /// Processor time of the start in seconds.
    pub(crate) sync_cpu: f64,
    /// When it is ready.
    pub(crate) memory_ready: Memory,
    /// After [`Plan::settling`].
    pub(crate) memory_settled: Memory,
    /// After all changes and [`Plan::settling`].
    pub(crate) memory_changed: Memory,
    /// From a write to the API to the answer, at a steady rate.
    pub(crate) steady: Latency,
    /// Number of these changes in a second.
    pub(crate) steady_rate: f64,
    /// Processor time of such a change in seconds.
    pub(crate) steady_cpu: f64,
    /// Number of changes that were written at once.
    pub(crate) burst_changes: usize,
    /// Time in seconds from these writes until all changes were answered.
    pub(crate) burst: f64,
    /// As `steady`, in the largest Service.
    pub(crate) large: Latency,
    /// Processor time of such a change in seconds.
    pub(crate) large_cpu: f64,
}

/// The figures of the agent.
#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Entries and estimated bytes of the maps, by name.
    pub(crate) maps: BTreeMap<String, (u64, u64)>,
    /// Memory of all maps in bytes, as the kernel counts it.
    pub(crate) maps_charged: u64,
    /// The agent's own figure of a batch: from its arrival to its last map write.
    pub(crate) programming_steady: Bounds,
    pub(crate) programming_burst: Bounds,
    pub(crate) programming_large: Bounds,
    /// Number of answers by the programs and by the agent.
    pub(crate) answers: Value,
}

impl Agent {
    /// The agent's own estimate of the maps' memory.
    pub(crate) fn maps_estimated(&self) -> u64 {
        self.maps.values().map(|(_, bytes)| bytes).sum()
    }
}

/// The figures of CoreDNS.
#[derive(Debug, Serialize)]
pub(crate) struct CoreDns {
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Bytes of live and dead objects in its heap after all changes.
    pub(crate) heap: f64,
}

/// Reads a peer's histogram between the phases.
type Look<'a> = dyn Fn(&Process<'_>) -> anyhow::Result<Option<Histogram>> + 'a;

/// Runs all phases. Also returns the histograms that `look` reads before, between and after
/// the three kinds of change.
fn phases(
    site: &Site,
    process: &mut Process<'_>,
    ready: (u16, &str),
    (cluster, api, plan): (&mut Cluster, &ApiServer, &Plan),
    look: &Look<'_>,
) -> anyhow::Result<(Common, Vec<Option<Histogram>>)> {
    let pod = site.node.pod("pod0", 10);
    let sync = process.ready(ready.0, ready.1)?.as_secs_f64();
    let sync_cpu = process.cpu()?;
    let memory_ready = process.memory()?;
    std::thread::sleep(plan.settling());
    let memory_settled = process.memory()?;
    eprintln!("ready after {sync:.2} s, {memory_settled}");
    let client = pod.client();
    let checked = answers::check(cluster, &client)?;
    let mut looks = vec![look(process)?];

    let burst_changes = plan.changes.min(cluster.services.len() - 1);
    let mut work = Changes {
        cluster,
        api,
        client,
    };
    let before = process.cpu()?;
    let (steady, steady_rate) = work.steady(plan.changes)?;
    let steady_cpu = (process.cpu()? - before) / plan.changes as f64;
    looks.push(look(process)?);
    let burst = work.burst(burst_changes)?.as_secs_f64();
    looks.push(look(process)?);
    let before = process.cpu()?;
    let large = work.large(plan.large_changes)?;
    let large_cpu = (process.cpu()? - before) / plan.large_changes as f64;
    looks.push(look(process)?);
    std::thread::sleep(plan.settling());
    let common = Common {
        checked,
        sync,
        sync_cpu,
        memory_ready,
        memory_settled,
        memory_changed: process.memory()?,
        steady,
        steady_rate,
        steady_cpu,
        burst_changes,
        burst,
        large,
        large_cpu,
    };
    Ok((common, looks))
}

/// Measures the agent, with its programs on the pod's interface.
pub(crate) fn agent(
    site: &mut Site,
    cluster: &mut Cluster,
    api: &ApiServer,
    plan: &Plan,
) -> anyhow::Result<Agent> {
    let url = format!("http://{}", site.api);
    let mut process = Process::start(&site.node, "HEADLESS_AGENT", |command, folder| {
        command.args(["run", "--source", "kubernetes", "--api-server", &url]);
        // The agent's responder answers in the cluster DNS's place, since a question passes
        // while its name is written.
        command.args(["--listen", &SERVER.to_string()]);
        command.args(["--admin", &format!("127.0.0.1:{ADMIN}")]);
        command
            .arg("--admin-socket")
            .arg(folder.path().join(SOCKET));
        Ok(())
    })?;
    let look = |process: &Process<'_>| {
        let status = process.status()?;
        let problems = &status["problems"];
        anyhow::ensure!(problems == &json!([]), "the agent has problems: {problems}");
        let (_, page) = process.get(ADMIN, "/metrics")?;
        Histogram::parse(&page, PROGRAMMING).map(Some)
    };
    let work = (cluster, api, plan);
    let (common, looks) = phases(site, &mut process, (ADMIN, "/readyz"), work, &look)?;
    let looks: Vec<Histogram> = looks.into_iter().flatten().collect();
    let [before, steady, burst, large] = looks.try_into().ok().context("a look is missing")?;
    let status = process.status()?;
    let problems = status["problems"].as_array().map_or(0, Vec::len);
    anyhow::ensure!(
        problems == 0,
        "the agent has problems: {}",
        status["problems"]
    );
    let by_program: u64 = ["xdp", "tc"]
        .iter()
        .filter_map(|of| status["answers"][of].as_u64())
        .sum();
    anyhow::ensure!(
        by_program >= common.checked,
        "the programs answered {by_program} questions, less than the {} that were checked",
        common.checked
    );
    let maps = status["maps"]
        .as_object()
        .context("no maps in the status")?;
    let maps = maps.iter().map(|(name, map)| {
        let number = |key: &str| map[key].as_u64().with_context(|| format!("no {key}"));
        anyhow::Ok((name.clone(), (number("entries")?, number("bytes")?)))
    });
    Ok(Agent {
        maps: maps.collect::<anyhow::Result<_>>()?,
        maps_charged: process.maps()?.values().sum(),
        programming_steady: steady.since(&before),
        programming_burst: burst.since(&steady),
        programming_large: large.since(&burst),
        answers: status["answers"].clone(),
        common,
    })
}

/// Measures CoreDNS with kubeadm's Corefile (`manifests.go`), without plugins that do not
/// concern the cluster's names, and without `cache`, which would delay changes.
pub(crate) fn coredns(
    site: &mut Site,
    cluster: &mut Cluster,
    api: &ApiServer,
    plan: &Plan,
) -> anyhow::Result<CoreDns> {
    let url = format!("http://{}", site.api);
    let corefile = format!(
        ".:53 {{
            errors
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {{
                endpoint {url}
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
                ttl 30
            }}
            prometheus :{ADMIN}
            loadbalance
        }}\n"
    );
    let mut process = Process::start(&site.node, "HEADLESS_COREDNS", |command, folder| {
        let file = folder.path().join("Corefile");
        fs::write(&file, corefile)?;
        command.arg("-conf").arg(&file);
        Ok(())
    })?;
    let look = |_: &Process<'_>| Ok(None);
    let work = (cluster, api, plan);
    let (common, _) = phases(site, &mut process, (8181, "/ready"), work, &look)?;
    let (_, page) = process.get(ADMIN, "/metrics")?;
    let name = "go_memstats_heap_alloc_bytes ";
    let heap = page.lines().find_map(|line| line.strip_prefix(name));
    let heap = heap.context("CoreDNS does not tell its heap")?.parse()?;
    Ok(CoreDns { common, heap })
}
