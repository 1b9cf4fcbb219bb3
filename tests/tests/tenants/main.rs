//! One tenant cannot hurt another: under the worst objects that a real API server accepts,
//! the answers for another tenant's names stay right and come from the kernel.
//!
//! `HEADLESS_TENANTS=full` runs the long form: more objects, and more changes to measure.
//! The figures are printed. docs/measurements.md has the figures of one run of the long form.
#![cfg(all(feature = "root-tests", feature = "peers"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "figures are shown with few digits, and test data are small"
)]

mod evil;
mod process;
mod victim;

use std::time::{Duration, Instant};

use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::Cluster;
use headless_tests::control_plane::{API, eventually};
use headless_tests::node::Pod;
use headless_tests::scene::{Scene, count, run};
use nix::sys::signal::Signal;

use self::process::{Heartbeats, peak_memory};
use self::victim::{Asking, Delays, Question, Tally};

/// Most memory of the agent's process in bytes, see [`peak_memory`].
const MEMORY_MAX: u64 = 256_000_000;

/// A bound of the maps' memory that is too small for the evil tenant's names.
const MAP_MEMORY: &str = "1MiB";

/// The time without a heartbeat after which `/livez` fails.
const LIVE: Duration = Duration::from_secs(3);

/// Most lines that the agent may log.
const LOG_LINES_MAX: usize = 100;

/// The extent of a run.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Slices with 100,000 addresses under one hostname, and as many with a name each.
    large_slices: usize,
    /// Services of the evil tenant with one endpoint, all with the same address.
    services: usize,
    /// Changes of the victim's objects that are timed.
    changes: usize,
    /// How long the evil tenant goes on changing its objects.
    churn: Duration,
    /// The least share of the victim's questions that the kernel answers, in thousandths. The
    /// agent of the short form is compiled without optimization, so that its writes, during
    /// which nothing is denied, take some ten times as long.
    kernel_share: u64,
}

impl Extent {
    fn of_environment() -> Self {
        match std::env::var("HEADLESS_TENANTS").as_deref() {
            Ok("full") => Self {
                large_slices: 4,
                services: 2000,
                changes: 300,
                churn: Duration::from_secs(30),
                kernel_share: 999,
            },
            Ok("") | Err(_) => Self {
                large_slices: 1,
                services: 200,
                changes: 40,
                churn: Duration::from_secs(4),
                kernel_share: 990,
            },
            Ok(other) => panic!("HEADLESS_TENANTS={other}: only `full` is known"),
        }
    }
}

/// The figures of one part of the run.
fn show(part: &str, tally: &Tally, agent: &Agent<'_>) {
    eprintln!(
        "{part}: {tally}; peak memory {:.1} MB, {} log lines",
        peak_memory(agent) as f64 / 1e6,
        agent.log().lines().count(),
    );
}

/// Fails unless the victim's answers were right and came from the kernel.
fn check(part: &str, tally: &Tally, agent: &Agent<'_>, extent: Extent) {
    show(part, tally, agent);
    let Tally {
        asked,
        kernel,
        lost,
        wrong,
        ..
    } = tally;
    assert_eq!((*lost, wrong.as_slice()), (0, &[][..]), "{part}");
    assert!(
        kernel * 1000 >= asked * extent.kernel_share,
        "{part}: {tally}\n{}",
        agent.log()
    );
    let peak = peak_memory(agent);
    assert!(peak <= MEMORY_MAX, "{part}: peak memory of {peak} bytes");
    let lines = agent.log().lines().count();
    assert!(
        lines <= LOG_LINES_MAX,
        "{part}: {lines} log lines\n{}",
        agent.log()
    );
}

#[test]
fn the_worst_objects_of_one_tenant_leave_another_tenants_answers_alone() {
    let extent = Extent::of_environment();
    run(&[], async |scene| {
        let tried = Tried {
            pod: scene.node.pod("veth-victim", 10),
            questions: victim::create(&scene.cluster).await,
            scene: &scene,
            extent,
        };
        let cluster_dns = victim::ClusterDns::start(scene.node);
        tried.while_objects_come_and_change().await;
        tried.while_objects_are_there_from_the_start().await;
        cluster_dns.stop();
    });
}

/// The node with the victim's pod, and the victim's questions.
struct Tried<'a> {
    scene: &'a Scene<'a>,
    pod: Pod,
    questions: Vec<Question>,
    extent: Extent,
}

impl Tried<'_> {
    async fn while_objects_come_and_change(&self) {
        let Self { scene, extent, .. } = self;
        let mut agent = scene.agent_in_cluster(&[]).await;
        self.check_for(1, "before", &agent).await;

        let beats = Heartbeats::watch(&agent);
        let asking = self.asking();
        let begun = Instant::now();
        evil::create(&scene.cluster, *extent).await;
        eprintln!("the evil objects took {:.1?}", begun.elapsed());
        settle(&agent, &scene.cluster, &self.pod).await;
        let tally = asking.stop().await;
        check("while evil objects come", &tally, &agent, *extent);

        let delays = Delays::measure(&scene.cluster, &self.pod, extent.changes).await;
        eprintln!("change to answer: {delays}");
        self.check_for(2, "with evil objects", &agent).await;

        let asking = self.asking();
        evil::churn(&scene.cluster, extent.churn).await;
        settle(&agent, &scene.cluster, &self.pod).await;
        let tally = asking.stop().await;
        check("while evil objects change", &tally, &agent, *extent);
        let longest = beats.stop();
        eprintln!("longest time without a heartbeat: {longest:.2?}");
        assert!(longest < LIVE, "the kubelet would kill the agent");
        agent.signal(Signal::SIGTERM);
        assert!(agent.wait().success(), "{}", agent.log());
    }

    /// All endpoints have names here, and the maps have no room for all of them.
    async fn while_objects_are_there_from_the_start(&self) {
        let scene = self.scene;
        let begun = Instant::now();
        let arguments = ["--endpoints", "all", "--max-map-memory", MAP_MEMORY];
        let agent = scene.agent_in_cluster(&arguments).await;
        eprintln!("ready after {:.1?} with evil objects", begun.elapsed());
        self.check_for(2, "after a restart", &agent).await;
        for name in evil::TOO_LARGE {
            assert!(victim::passes(&self.pod, name), "{name}");
        }
        let problems = agent.problems();
        assert!(problems.contains("which is too many"), "{problems}");
        let yielding = count(&agent, "headless_map_yielding_services");
        assert!(yielding > 0, "{}", agent.log());

        evil::delete(&scene.cluster).await;
        settle(&agent, &scene.cluster, &self.pod).await;
        self.check_for(1, "without evil objects", &agent).await;
    }

    fn asking(&self) -> Asking {
        Asking::start(&self.pod, &self.questions)
    }

    /// Asks for some seconds and checks the answers.
    async fn check_for(&self, seconds: u64, part: &str, agent: &Agent<'_>) {
        let tally = self.asking().during(Duration::from_secs(seconds)).await;
        check(part, &tally, agent, self.extent);
    }
}

/// Waits until the agent has written everything that the API server has told so far.
async fn settle(agent: &Agent<'_>, cluster: &Cluster, pod: &Pod) {
    eventually(async || {
        let status = agent.status();
        let whole = status["complete"] == true && status["synced"] == true;
        whole.then_some(()).ok_or_else(|| format!("{status:#}"))
    })
    .await;
    // The API server sends the events of a watch in their order, so those before are applied once
    // a change of the victim is answered.
    Delays::measure(cluster, pod, 2).await;
}

/// A scene whose agents run as in the `DaemonSet`.
trait InCluster<'a> {
    /// Starts an agent without a responder and waits until it is ready.
    async fn agent_in_cluster(&self, arguments: &[&str]) -> Agent<'a>;
}

impl<'a> InCluster<'a> for Scene<'a> {
    async fn agent_in_cluster(&self, arguments: &[&str]) -> Agent<'a> {
        let kubeconfig = self.plane.kubeconfig(API, &self.token().await);
        let own = ["--kubeconfig", kubeconfig.as_str()];
        let mut agent = Agent::spawn(self.node, &[&own, arguments].concat());
        eventually(async || {
            agent.alive();
            match agent.get("/readyz") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", agent.log())),
            }
        })
        .await;
        agent
    }
}
