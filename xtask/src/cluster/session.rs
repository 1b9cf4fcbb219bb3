//! Access to a running cluster from outside of its namespaces.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::place::{self, Record};
use super::{components, init};
use crate::exec;
use crate::peers::{self, Peer};

/// The longest time until objects have the wanted state.
const TIMEOUT: Duration = Duration::from_mins(2);

const POLL: Duration = Duration::from_millis(100);

/// A running cluster.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) record: Record,
    programs: components::Programs,
    /// PID 1 of the cluster.
    init: i32,
}

impl Session {
    /// The running cluster, if one runs.
    ///
    /// # Errors
    /// When the record cannot be read, or a component has ended.
    pub(super) fn running() -> Result<Option<Self>> {
        let Some(record) = Record::read()?.filter(Record::runs) else {
            return Ok(None);
        };
        init::check(&record)?;
        let kubectl = peers::path(Peer::Kubectl)?;
        Ok(Some(Self {
            init: record.init()?,
            record,
            programs: [("kubectl".to_owned(), kubectl)].into(),
        }))
    }

    /// Names the component that has ended, where one has: it may be the cause of the error.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match init::check(&self.record) {
            Ok(()) => error,
            Err(ended) => error.context(ended),
        }
    }

    /// A process in the node's network namespace.
    pub(super) fn node_process(&self) -> i32 {
        self.init
    }

    /// A command in the node's network namespace.
    pub(super) fn on_node(&self, program: impl AsRef<Path>) -> Command {
        in_network_of(self.init, program)
    }

    /// A command in all of the node's namespaces.
    pub(super) fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.init.to_string();
        command.args(["--target", &target, "--mount", "--net", "--pid", "--"]);
        command
    }

    /// Imports an image.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub(super) fn import(&self, name: &str, file: &Path) -> Result<()> {
        let import = components::import(name, file);
        let mut command = self.inside();
        command.arg(import.get_program()).args(import.get_args());
        exec::output(&mut command).map(drop)
    }

    /// kubectl with all rights.
    pub(super) fn kubectl_command(&self) -> Command {
        let kubectl = components::kubectl(&self.programs, &place::run_folder());
        let mut command = self.on_node(kubectl.get_program());
        command.args(kubectl.get_args());
        command
    }

    /// Runs kubectl and returns its output. `arguments` are words between spaces.
    ///
    /// # Errors
    /// With kubectl's own message.
    pub(super) fn kubectl(&self, arguments: &str) -> Result<String> {
        exec::output(self.kubectl_command().args(arguments.split_whitespace()))
    }

    /// Runs a shell's command line in a pod of the namespace `default`.
    ///
    /// # Errors
    /// When the command line fails.
    pub(super) fn shell(&self, pod: &str, line: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        exec::output(command.args(["exec", pod, "--", "/bin/sh", "-c", line]))
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// With kubectl's own message.
    pub(super) fn apply(&self, manifests: &str) -> Result<()> {
        let mut child = self
            .kubectl_command()
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(manifests.as_bytes())?;
        }
        let status = child.wait()?;
        ensure!(status.success(), "kubectl apply failed: {status}");
        Ok(())
    }

    /// Waits until the node is ready, and pods may be made: each needs its namespace's account.
    ///
    /// # Errors
    /// When it takes too long, or a component has ended.
    pub(super) fn wait_for_node(&self) -> Result<()> {
        self.wait("kubelet", "the node to be ready", || {
            let condition = "get nodes -o \
                jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")]";
            let ready = self.kubectl(&format!("{condition}.status}}"))? == "True";
            if !ready {
                bail!("{}", self.kubectl(&format!("{condition}.message}}"))?);
            }
            Ok(ready)
        })?;
        let component = "kube-controller-manager";
        self.wait(component, "default service accounts", || {
            let accounts = self.kubectl("get serviceaccounts -A -o name")?;
            let default = accounts.lines().filter(|name| name.ends_with("/default"));
            let namespaces = self.kubectl("get namespaces -o name")?;
            Ok(default.count() >= namespaces.lines().count())
        })
    }

    /// Waits until all pods of a workload are ready.
    ///
    /// # Errors
    /// When it takes too long. The message has the namespace's pods and latest events.
    pub(super) fn wait_for_rollout(&self, namespace: &str, workload: &str) -> Result<()> {
        let timeout = TIMEOUT.as_secs();
        let status =
            format!("--namespace {namespace} rollout status {workload} --timeout {timeout}s");
        self.kubectl(&status).map(drop).or_else(|error| {
            init::check(&self.record)?;
            let pods = self.kubectl(&format!("--namespace {namespace} get pods -o wide"));
            let events = self.kubectl(&format!("--namespace {namespace} events"))?;
            let from = events.lines().count().saturating_sub(15);
            let events: Vec<_> = events.lines().skip(from).collect();
            bail!("{error:#}\n{}\n{}", pods?, events.join("\n"))
        })
    }

    /// Waits until `done`.
    ///
    /// # Errors
    /// When it takes too long, with the log of the component that is waited for.
    pub(super) fn wait(
        &self,
        component: &str,
        what: &str,
        done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let last = done();
            if matches!(last, Ok(true)) {
                return Ok(());
            }
            init::check(&self.record)?;
            if Instant::now() > deadline {
                let seconds = TIMEOUT.as_secs();
                let error = last.err().map(|error| format!(" ({error:#})"));
                bail!(
                    "waited {seconds} s for {what}{}; {}",
                    error.unwrap_or_default(),
                    place::log_tail(component)
                );
            }
            thread::sleep(POLL);
        }
    }

    /// A process of the pod's first container, in this PID namespace.
    ///
    /// # Errors
    /// When the pod does not run.
    pub(super) fn pod_process(&self, namespace: &str, pod: &str) -> Result<i32> {
        let id = self.kubectl(&format!(
            "--namespace {namespace} get pod {pod} -o \
             jsonpath={{.status.containerStatuses[0].containerID}}"
        ))?;
        let id = id.rsplit('/').next().unwrap_or_default();
        ensure!(!id.is_empty(), "the pod {pod} has no container yet");
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process may end in between.
            let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if cgroups.contains(id) {
                return Ok(pid);
            }
        }
        bail!("the container of the pod {pod} has no process")
    }
}

/// A command in the network namespace of a process.
pub(super) fn in_network_of(pid: i32, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--");
    command.arg(program.as_ref());
    command
}
