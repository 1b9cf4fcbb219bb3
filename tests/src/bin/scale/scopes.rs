//! The cost of each endpoint scope, in a cluster of which most Services have a cluster IP: what
//! the API server sends to a node, and what the agent needs for it.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use headless_tests::frame::SERVER;
use headless_tests::node::Node;
use serde::Serialize;

use crate::api::ApiServer;
use crate::cluster::Cluster;
use crate::plan::Plan;
use crate::process::{Memory, Process, SOCKET};
use crate::report::Machine;
use crate::site::Site;

/// The port of the agent's admin endpoint.
const ADMIN: u16 = 9153;

/// Changes per second.
const RATE: f64 = 100.0;

/// How long the last changes may take to be delivered and applied.
const DRAIN: Duration = Duration::from_secs(3);

/// Nodes of the cluster for which the API server's share is calculated.
const NODES: f64 = 5_000.0;

/// The figures of one scope.
#[derive(Debug, Serialize)]
struct Scope {
    /// The value of `--endpoints`.
    endpoints: &'static str,
    /// From the start until the agent is ready, in seconds.
    sync: f64,
    /// Processor time of the start in seconds.
    sync_cpu: f64,
    /// Bytes that the API server has sent until then, as the loopback counts them.
    list_bytes: u64,
    /// After [`Plan::settling`].
    memory: Memory,
    /// Memory of all maps in bytes, as the kernel counts it.
    maps: u64,
    /// Bytes that the API server has sent for a change, on average.
    change_bytes: f64,
    /// Processor time of a change in seconds, on average.
    change_cpu: f64,
}

/// A figure as people read it.
type Figure = dyn Fn(&Scope) -> String;

/// The figures of all scopes.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    plan: Plan,
    services: usize,
    headless: usize,
    endpoints: usize,
    slices: usize,
    scopes: Vec<Scope>,
}

/// Measures each scope, prints the figures and writes them to the file.
///
/// # Errors
/// When an agent does not start, has problems, or figures cannot be read.
pub(crate) fn measure(
    cluster: &mut Cluster,
    api: &ApiServer,
    plan: &Plan,
    file: &Path,
) -> anyhow::Result<()> {
    let mut scopes = Vec::new();
    for endpoints in ["headless", "all"] {
        eprintln!("--endpoints {endpoints}");
        scopes.push(scope(endpoints, cluster, api, plan)?);
    }
    let report = Report {
        machine: Machine::read()?,
        plan: *plan,
        services: cluster.services.len(),
        headless: cluster.headless(),
        endpoints: cluster.endpoints(),
        slices: cluster.slices(),
        scopes,
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    print!("{report}");
    Ok(())
}

fn scope(
    endpoints: &'static str,
    cluster: &mut Cluster,
    api: &ApiServer,
    plan: &Plan,
) -> anyhow::Result<Scope> {
    let site = Site::new(api)?;
    let url = format!("http://{}", site.api);
    let sent = received(&site.node)?;
    let mut process = Process::start(&site.node, "HEADLESS_AGENT", |command, folder| {
        command.args(["run", "--source", "kubernetes", "--api-server", &url]);
        command.args(["--endpoints", endpoints, "--listen", &SERVER.to_string()]);
        command.args(["--admin", &format!("127.0.0.1:{ADMIN}")]);
        command
            .arg("--admin-socket")
            .arg(folder.path().join(SOCKET));
        Ok(())
    })?;
    let sync = process.ready(ADMIN, "/readyz")?.as_secs_f64();
    let sync_cpu = process.cpu()?;
    let list_bytes = received(&site.node)? - sent;
    std::thread::sleep(plan.settling());
    let memory = process.memory()?;
    let maps = process.maps()?.values().sum();
    let (cpu, sent) = (process.cpu()?, received(&site.node)?);
    change(cluster, api, plan.changes);
    std::thread::sleep(DRAIN);
    let changes = plan.changes as f64;
    let change_bytes = (received(&site.node)? - sent) as f64 / changes;
    let change_cpu = (process.cpu()? - cpu) / changes;
    let problems = process.status()?["problems"].clone();
    anyhow::ensure!(
        problems.as_array().is_some_and(Vec::is_empty),
        "the agent has problems: {problems}"
    );
    Ok(Scope {
        endpoints,
        sync,
        sync_cpu,
        list_bytes,
        memory,
        maps,
        change_bytes,
        change_cpu,
    })
}

/// Makes changes at a steady rate, of endpoints that are spread evenly: pods change, so a Service
/// changes in proportion to their number.
fn change(cluster: &mut Cluster, api: &ApiServer, changes: usize) {
    let all = cluster.endpoints();
    let start = Instant::now();
    for number in 0..changes {
        let due = start + Duration::from_secs_f64(number as f64 / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut place = all * number / changes;
        for service in &mut cluster.services {
            if place < service.len() {
                api.put(service.toggle(place).1);
                break;
            }
            place -= service.len();
        }
    }
}

/// Bytes that the node's loopback has carried. Only the agent and the API server use it.
fn received(node: &Node) -> anyhow::Result<u64> {
    let text = node.run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let bytes = line.and_then(|line| line.split_whitespace().next());
    Ok(bytes.context("no loopback")?.parse()?)
}

fn mega(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            services,
            headless,
            endpoints,
            slices,
            ..
        } = self;
        writeln!(
            f,
            "{services} Services, {headless} of them headless, {endpoints} endpoints, {slices} \
             slices"
        )?;
        let rows: [(&str, &Figure); 9] = [
            ("--endpoints", &|of| of.endpoints.to_owned()),
            ("start to ready", &|of| format!("{:.2} s", of.sync)),
            ("processor time of the start", &|of| {
                format!("{:.2} s", of.sync_cpu)
            }),
            ("sent to a node at its start", &|of| {
                mega(of.list_bytes as f64)
            }),
            ("  to 5,000 nodes", &|of| {
                format!("{:.1} GB", of.list_bytes as f64 * NODES / 1e9)
            }),
            ("sent to a node for a change", &|of| {
                format!("{:.0} bytes", of.change_bytes)
            }),
            ("  to 5,000 nodes", &|of| mega(of.change_bytes * NODES)),
            ("processor time of a change", &|of| {
                format!("{:.0} µs", of.change_cpu * 1e6)
            }),
            ("memory", &|of| {
                let anonymous = mega(of.memory.anonymous as f64);
                format!("{anonymous} RssAnon, {} maps", mega(of.maps as f64))
            }),
        ];
        for (what, figure) in rows {
            let figures: Vec<_> = self.scopes.iter().map(figure).collect();
            writeln!(f, "{what:<30} {:<36} {}", figures[0], figures[1])?;
        }
        Ok(())
    }
}
