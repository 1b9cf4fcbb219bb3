//! Capabilities belong to threads: the thread that loads and attaches keeps three, and the
//! threads that parse what strangers send keep none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use headless_agent::datapath::probe;
use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::qtype;
use headless_tests::node::{Node, wait_for};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use rustix::thread::CapabilitySet;

/// A user without privileges.
const NOBODY: &str = "65534";

/// The names of the capability sets in `/proc/PID/task/TID/status`.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// A thread of a process.
#[derive(Debug)]
struct Thread {
    name: String,
    /// As in [`SETS`].
    sets: [CapabilitySet; 5],
    no_new_privs: bool,
}

impl Thread {
    fn read(status: &str) -> Self {
        let field = |name: &str| {
            let prefix = format!("{name}:");
            let value = status.lines().find_map(|line| line.strip_prefix(&prefix));
            value.unwrap_or_else(|| panic!("no {name} in\n{status}"))
        };
        Self {
            name: field("Name").trim().to_owned(),
            sets: SETS.map(|set| {
                let bits = u64::from_str_radix(field(set).trim(), 16).unwrap();
                CapabilitySet::from_bits_retain(bits)
            }),
            no_new_privs: field("NoNewPrivs").trim() == "1",
        }
    }
}

fn threads(agent: &Agent<'_>) -> Vec<Thread> {
    let folder = format!("/proc/{}/task", agent.pid());
    let tasks = fs::read_dir(folder).unwrap();
    // A thread may end between the two readings.
    let statuses = tasks.filter_map(|task| {
        let path = task.unwrap().path().join("status");
        fs::read_to_string(path).ok()
    });
    statuses.map(|status| Thread::read(&status)).collect()
}

/// Asserts what each thread has. `bounding` is the bounding set of all.
fn assert_threads(agent: &Agent<'_>, bounding: CapabilitySet) {
    let of_loader = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    assert_eq!(probe::TO_LOAD, of_loader);
    let threads = threads(agent);
    for thread in &threads {
        let expected = match thread.name.as_str() {
            "datapath" => of_loader,
            // Nothing, or CAP_BPF on kernels before 5.19.
            "mirror" | "admin" => probe::to_use_maps(),
            _ => CapabilitySet::empty(),
        };
        let none = CapabilitySet::empty();
        let expected = [none, expected, expected, bounding, none];
        assert_eq!(thread.sets, expected, "{SETS:?} of {thread:?}");
        assert!(thread.no_new_privs, "{thread:?}");
    }
    let names: BTreeSet<_> = threads.iter().map(|thread| thread.name.as_str()).collect();
    for stage in ["datapath", "mirror", "admin", "tokio-rt-worker"] {
        assert!(names.contains(stage), "no {stage} among {names:?}");
    }
    let loaders = threads.iter().filter(|thread| thread.name == "datapath");
    assert_eq!(loaders.count(), 1);
}

/// Answers, follows changes, attaches to a new pod, and tells about all of it.
fn assert_works(node: &Node, agent: &Agent<'_>, folder: &Path, ends: [&str; 2]) {
    let pod = node.pod(ends[0], 10);
    wait_for(|| match agent.interface_state(ends[0], "tc") {
        Some(state) if state == "attached" => Ok(()),
        state => Err(format!("{state:?}")),
    });
    let manifest = headless_service("late", &["10.0.9.1".to_owned()]);
    fs::write(folder.join("late.yaml"), manifest).unwrap();
    let late: IpAddr = "10.0.9.1".parse().unwrap();
    let answers = agent.kernel_answers();
    wait_for(|| {
        let found = pod.addresses("late.default.svc.cluster.local", qtype::A);
        let is_there = found == [late];
        is_there.then_some(()).ok_or(format!("{found:?}"))
    });
    assert!(agent.kernel_answers() > answers);
    assert!(agent.run(&["dump", "late.default"]).contains("10.0.9.1"));
    let _late = node.pod(ends[1], 11);
    wait_for(|| match agent.interface_state(ends[1], "tc") {
        Some(state) if state == "attached" => Ok(()),
        state => Err(format!("{state:?}")),
    });
    let (status, metrics) = agent.get("/metrics").unwrap();
    assert_eq!(status, 200);
    for program in ["xdp", "tc"] {
        let sample = format!("headless_program_run_seconds_total{{program=\"{program}\"}} ");
        assert!(metrics.contains(&sample), "{metrics}");
    }
}

/// A process of the agent's user without capabilities. The kernel compares them with those of
/// the thread that it asks for, and the first thread has none.
#[test]
fn nobody_without_capabilities_reads_the_agents_memory() {
    let node = Node::new();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let environment = format!("/proc/{}/environ", agent.pid());
    let bare = ["--inh-caps=-all", "--bounding-set=-all", "--", "cat"];
    let reads = |path: &str| {
        let output = node.command("setpriv").args(bare).arg(path).output();
        output.unwrap().status.success()
    };
    assert!(reads("/proc/self/environ"), "its own");
    assert!(!reads(&environment));
}

#[test]
fn only_the_loader_of_root_keeps_capabilities() {
    let node = Node::new();
    let manifests = manifests();
    let listen = ["--listen", "10.96.0.10"];
    let agent = Agent::start(&node, manifests.path(), &listen);
    assert_threads(&agent, CapabilitySet::empty());
    assert_works(&node, &agent, manifests.path(), ["veth1", "veth2"]);
    assert_threads(&agent, CapabilitySet::empty());
}

/// As with a file that carries the capabilities, or under a service manager. The bounding set
/// is not the agent's to empty then.
#[test]
fn only_the_loader_of_another_user_keeps_capabilities() {
    let node = Node::new();
    let manifests = manifests();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(manifests.path(), open).unwrap();
    // Kernels before 5.11 count maps as locked memory. Others need no limit to be lifted, and
    // this process may be kept from it.
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).ok();
    let launcher = [
        "setpriv",
        &format!("--reuid={NOBODY}"),
        "--clear-groups",
        "--inh-caps=-all,+bpf,+net_admin,+perfmon",
        "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
        "--bounding-set=-all,+bpf,+net_admin,+perfmon",
        "--",
    ];
    let folder = manifests.path().to_str().unwrap();
    let mut agent = Agent::spawn_by(&node, &launcher, &["--manifests", folder]);
    agent.ready();
    let bounding = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    assert_threads(&agent, bounding);
    assert_works(&node, &agent, manifests.path(), ["veth1", "veth2"]);
    assert_threads(&agent, bounding);
}
