//! headless in the cluster, deployed as `deploy/README.md` says, with an image of this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::images::Image;
use super::metrics::Verdicts;
use super::options::AgentArgs;
use super::place;
use super::session::Session;
use crate::{exec, lab};

/// The image, which containerd has under this name.
const IMAGE: &str = "localhost/headless-agent";

/// The image's name in `deploy/base`.
const BASE_IMAGE: &str = "headless-agent";

const TAG: &str = "test";

const NAMESPACE: &str = "kube-system";

const WORKLOAD: &str = "daemonset/headless-agent";

/// The agent makes its page of metrics at most once in 200 ms.
const METRICS_AGE: Duration = Duration::from_millis(300);

/// The deployed headless.
#[derive(Debug)]
pub(super) struct Deployment<'a> {
    session: &'a Session,
    overlay: PathBuf,
}

impl<'a> Deployment<'a> {
    /// Builds the agent unless there is one, and its image, deploys it and waits until it is
    /// ready.
    ///
    /// # Errors
    /// When it cannot be built, or is not ready in time.
    pub(super) fn new(session: &'a Session, arguments: &AgentArgs) -> Result<Self> {
        let agent = if let Some(file) = &arguments.file {
            file.clone()
        } else {
            lab::build_agent()?;
            lab::built_agent()
        };
        let image = image(&agent);
        session.import(&image.name, &image.build()?)?;
        // kustomize takes relative paths alone.
        let overlay = place::root().join("overlay");
        let text = overlay_text("../../../deploy/base", &arguments.variables);
        place::write(&overlay.join("kustomization.yaml"), &text)?;
        let deployment = Self { session, overlay };
        deployment.kubectl("apply")?;
        deployment.wait()?;
        // Shortly after the cluster was made, its Corefile may be older than it seems.
        session.wait("kubelet", "the agent to trust the Corefile", || {
            Ok(!deployment.problems()?.contains("the Corefile has changed"))
        })?;
        Ok(deployment)
    }

    /// Removes what a test left that was interrupted.
    ///
    /// # Errors
    /// With kubectl's message.
    pub(super) fn clean(session: &'a Session) -> Result<()> {
        let delete = format!("--namespace {NAMESPACE} delete {WORKLOAD} --ignore-not-found");
        session.kubectl(&delete)?;
        wait_until_gone(session)
    }

    fn kubectl(&self, verb: &str) -> Result<()> {
        let mut command = self.session.kubectl_command();
        exec::output(command.arg(verb).arg("-k").arg(&self.overlay)).map(drop)
    }

    /// Waits until the agent is ready.
    ///
    /// # Errors
    /// When it is not in time, with the end of its log.
    pub(super) fn wait(&self) -> Result<()> {
        let result = self.session.wait_for_rollout(NAMESPACE, WORKLOAD);
        result.with_context(|| {
            let log = format!("--namespace {NAMESPACE} logs {WORKLOAD} --tail 15");
            self.session.kubectl(&log).unwrap_or_default()
        })
    }

    /// Removes headless, and waits until its pod is gone.
    ///
    /// # Errors
    /// With kubectl's message.
    pub(super) fn delete(self) -> Result<()> {
        self.kubectl("delete")?;
        wait_until_gone(self.session)
    }

    /// Replaces the agent's pod by a new one, and waits for it.
    ///
    /// # Errors
    /// When the new one is not ready in time.
    pub(super) fn restart(&self) -> Result<()> {
        let restart = format!("--namespace {NAMESPACE} rollout restart {WORKLOAD}");
        self.session.kubectl(&restart)?;
        self.wait()
    }

    /// Kills the agent with SIGKILL, and waits until the kubelet has started it again.
    ///
    /// # Errors
    /// When it is not ready again in time.
    pub(super) fn kill(&self) -> Result<()> {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        let count = || {
            let path = "jsonpath={.items[0].status.containerStatuses[0].restartCount}";
            anyhow::Ok(self.pods(path)?.parse::<u32>()?)
        };
        let before: u32 = count()?;
        kill(Pid::from_raw(self.process()?), Signal::SIGKILL).context("cannot kill the agent")?;
        self.session
            .wait("kubelet", "the agent to be started again", || {
                Ok(count()? > before)
            })?;
        self.session
            .wait("kubelet", "the agent to be ready again", || {
                let path = "jsonpath={.items[0].status.containerStatuses[0].ready}";
                Ok(self.pods(path)? == "true")
            })
    }

    /// The agent's process, in this PID namespace.
    ///
    /// # Errors
    /// When it does not run.
    pub(super) fn process(&self) -> Result<i32> {
        let pod = self.pods("jsonpath={.items[0].metadata.name}")?;
        self.session.pod_process(NAMESPACE, &pod)
    }

    /// The problems that `headless-agent status` shows, run as `deploy/README.md` says.
    ///
    /// # Errors
    /// When the command fails.
    pub(super) fn problems(&self) -> Result<String> {
        let status = format!("--namespace {NAMESPACE} exec {WORKLOAD} -- /headless-agent status");
        self.session
            .kubectl(&status)
            .map(|status| problems_in(&status))
    }

    /// The programs' verdicts so far.
    ///
    /// # Errors
    /// When the agent gives no metrics.
    pub(super) fn verdicts(&self) -> Result<Verdicts> {
        thread::sleep(METRICS_AGE);
        let mut command = self.session.on_node("busybox");
        command.args(["wget", "-qO-", "http://127.0.0.1:9153/metrics"]);
        Verdicts::parse(&exec::output(&mut command)?)
    }

    fn pods(&self, output: &str) -> Result<String> {
        pods(self.session, output)
    }
}

/// The agent's pods, in one of kubectl's forms.
fn pods(session: &Session, output: &str) -> Result<String> {
    let label = "app.kubernetes.io/name=headless-agent";
    session.kubectl(&format!(
        "--namespace {NAMESPACE} get pods -l {label} -o {output}"
    ))
}

fn wait_until_gone(session: &Session) -> Result<()> {
    session.wait("kubelet", "the agent's pod to be gone", || {
        Ok(pods(session, "jsonpath={.items[*].metadata.name}")?.is_empty())
    })
}

/// The agent with the libraries that it needs.
fn image(agent: &Path) -> Image {
    let mut image = Image::of(&format!("{IMAGE}:{TAG}"), agent, "/headless-agent");
    image.arguments = vec!["run"];
    // ldd fails for a program that needs none.
    let libraries = exec::output(Command::new("ldd").arg(agent)).unwrap_or_default();
    for library in libraries_of(&libraries) {
        image.files.push((library.into(), library.to_owned()));
    }
    image
}

/// The files in the output of `ldd`.
fn libraries_of(output: &str) -> Vec<&str> {
    let words = output.lines().filter_map(|line| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.split_whitespace().next()
    });
    words.filter(|word| word.starts_with('/')).collect()
}

/// The lines below the heading `Problems` of a status.
fn problems_in(status: &str) -> String {
    let lines = status
        .lines()
        .skip_while(|line| *line != "Problems")
        .skip(1);
    let lines: Vec<_> = lines
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    if lines.is_empty() {
        "none".to_owned()
    } else {
        lines.join("; ")
    }
}

/// A kustomization that takes the base, with another image and more variables.
fn overlay_text(base: &str, variables: &[(String, String)]) -> String {
    let add = |(name, value): &(String, String)| {
        json!({
            "op": "add",
            "path": "/spec/template/spec/containers/0/env/-",
            "value": {"name": name, "value": value},
        })
    };
    let operations: Vec<_> = variables.iter().map(add).collect();
    let operations = json!(operations).to_string();
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "images": [{"name": BASE_IMAGE, "newName": IMAGE, "newTag": TAG}],
        "patches": [{"target": {"kind": "DaemonSet"}, "patch": operations}],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let output = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries_of(output), expected);
        assert!(libraries_of("\tstatically linked\n").is_empty());
    }

    #[test]
    fn problems_are_read_from_a_status() {
        let status = "Problems\n  not ready: a\n  b\n\nversion 0.1.0\n\nNotes\n  c\n";
        assert_eq!(problems_in(status), "not ready: a; b");
        assert_eq!(problems_in("version 0.1.0\n\nNotes\n  c\n"), "none");
    }

    #[test]
    fn the_overlay_replaces_the_image_of_the_base() {
        let base = exec::workspace().join("deploy/base/daemonset.yaml");
        let base = std::fs::read_to_string(base).unwrap();
        assert!(base.contains(&format!("image: {BASE_IMAGE}:")));
        let text = overlay_text("../base", &[("A".to_owned(), "b c".to_owned())]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let image = value.pointer("/images/0").unwrap();
        assert_eq!(image.get("name").unwrap(), BASE_IMAGE);
        assert_eq!(image.get("newName").unwrap(), IMAGE);
        assert_eq!(image.get("newTag").unwrap(), TAG);
        let patch = value.pointer("/patches/0/patch").unwrap();
        let patch: serde_json::Value = serde_json::from_str(patch.as_str().unwrap()).unwrap();
        assert_eq!(
            patch.pointer("/0/value").unwrap(),
            &json!({"name": "A", "value": "b c"})
        );
    }
}
