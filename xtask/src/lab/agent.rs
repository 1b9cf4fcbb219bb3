//! The agent of a lab, which runs in the node's network namespace.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::mounts;

/// The address of the agent's admin endpoint. Each lab has a loopback of its own, so labs
/// do not clash.
pub(crate) const ADMIN: &str = "127.0.0.1:9153";

/// The variable that names the agent's admin socket.
const ADMIN_SOCKET: &str = "HEADLESS_ADMIN_SOCKET";

/// The longest time from the agent's start until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest time from SIGTERM to the agent's end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of lines of the agent's log in an error message.
const LOG_TAIL_LINES: usize = 30;

/// The hook of the programs on the pods' interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hook {
    /// XDP, taken off while a pod sends much.
    Auto,
    /// XDP, and tc behind it.
    Xdp,
    /// tc alone.
    Tc,
}

/// How to start an agent.
#[derive(Debug)]
pub(crate) struct AgentOptions<'a> {
    /// The agent's binary.
    pub(crate) binary: &'a Path,
    /// The folder of manifests it serves.
    pub(crate) manifests: &'a Path,
    /// The addresses that it answers on, in the kernel and in userspace.
    pub(crate) listen: &'a [Ipv4Addr],
    /// The value of `--hook`; `None` for the agent's default.
    pub(crate) hook: Option<Hook>,
    /// The address of its admin endpoint: [`ADMIN`] unless there are several agents.
    pub(crate) admin: &'a str,
    /// Further arguments.
    pub(crate) arguments: &'a [OsString],
    /// Whether the log goes to standard error instead of a file.
    pub(crate) verbose: bool,
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    pid: Pid,
    binary: PathBuf,
    admin: String,
    socket: PathBuf,
    log: Option<PathBuf>,
}

impl Agent {
    /// Starts the agent and waits until it is ready.
    ///
    /// # Errors
    /// When the agent cannot be started, ends, or is not ready in time. The message has the
    /// end of its log.
    pub(crate) async fn start(options: &AgentOptions<'_>) -> Result<Self> {
        let binary = options.binary;
        let mut command = Command::new(binary);
        command.arg("run").arg("--manifests").arg(options.manifests);
        for address in options.listen {
            command.arg("--listen").arg(address.to_string());
        }
        command.args(["--admin", options.admin]);
        if let Some(hook) = options.hook.and_then(|hook| hook.to_possible_value()) {
            command.args(["--hook", hook.get_name()]);
        }
        command.args(options.arguments);
        let port = options.admin.rsplit(':').next().unwrap_or_default();
        let socket = mounts::scratch().join(format!("agent-{port}.sock"));
        // Older agents, with which benchmarks compare, refuse an unknown option, not a variable.
        command.env(ADMIN_SOCKET, &socket);
        let log = format!("agent-{port}.log");
        let log = (!options.verbose).then(|| mounts::scratch().join(log));
        if let Some(log) = &log {
            let file = File::create(log)
                .with_context(|| format!("cannot make the file {}", log.display()))?;
            command.stdout(file.try_clone()?).stderr(file);
        } else {
            // Standard output is for what the lab's command prints.
            command.stdout(io::stderr());
        }
        // Signals from the terminal are for the command in the pod, not for the agent.
        command.stdin(Stdio::null()).process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start the agent {}", binary.display()))?;
        let pid = child.id().context("the agent has no process id")?;
        let mut agent = Self {
            child,
            pid: Pid::from_raw(i32::try_from(pid)?),
            binary: binary.to_owned(),
            admin: options.admin.to_owned(),
            socket,
            log,
        };
        agent.wait_ready().await?;
        Ok(agent)
    }

    /// The agent's process id inside the lab.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The agent's exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The output of `headless-agent status --output json`.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub(crate) async fn status(&self) -> Result<Vec<u8>> {
        let output = Command::new(&self.binary)
            .args(["status", "--output", "json"])
            .env("HEADLESS_ADMIN", &self.admin)
            .env(ADMIN_SOCKET, &self.socket)
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot ask the agent for its status")?;
        ensure!(
            output.status.success(),
            "the agent's status command failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(output.stdout)
    }

    /// The problems of the manifests and of the agent itself, as `status` lists them.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        /// The part of the status that lists problems.
        #[derive(serde::Deserialize)]
        struct Status {
            problems: Vec<String>,
            reported: Vec<String>,
        }
        let status = self.status().await?;
        let Status { problems, reported } =
            serde_json::from_slice(&status).context("cannot read the agent's status")?;
        Ok(reported.into_iter().chain(problems).collect())
    }

    /// Stops the agent as a kubelet does, with SIGTERM.
    ///
    /// # Errors
    /// When the agent does not end in time, or fails.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!(
                "the agent ended before it was stopped: {status}{}",
                self.tail()
            );
        }
        kill(self.pid, Signal::SIGTERM).context("cannot stop the agent")?;
        let Ok(status) = timeout(STOP_TIMEOUT, self.child.wait()).await else {
            bail!(
                "the agent did not end within {} s of SIGTERM{}",
                STOP_TIMEOUT.as_secs(),
                self.tail()
            );
        };
        let status = status?;
        ensure!(
            status.success() || status.signal() == Some(Signal::SIGTERM as i32),
            "the agent stopped with {status}{}",
            self.tail()
        );
        let failure = self.logged_failure();
        ensure!(
            failure.is_none(),
            "the agent logged: {}{}",
            failure.unwrap_or_default(),
            self.tail()
        );
        Ok(())
    }

    /// The first panic or error in the log.
    fn logged_failure(&self) -> Option<String> {
        let text = fs::read(self.log.as_ref()?).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let is_failure = |line: &&str| {
            let level = line.split_whitespace().nth(1);
            level == Some("ERROR") || line.starts_with("thread '")
        };
        text.lines().find(is_failure).map(str::to_owned)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.ended()? {
                bail!("the agent did not start: {status}{}", self.tail());
            }
            let missing = match readiness(&self.admin).await {
                Ok(None) => return Ok(()),
                Ok(Some(answer)) => answer,
                Err(error) => format!("{error:#}"),
            };
            ensure!(
                Instant::now() < deadline,
                "the agent was not ready within {} s: {missing}{}",
                READY_TIMEOUT.as_secs(),
                self.tail()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The end of the log, for the end of an error message.
    fn tail(&self) -> String {
        let Some(log) = &self.log else {
            return String::new();
        };
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        if lines.is_empty() {
            return String::from("; its log is empty");
        }
        let from = lines.len().saturating_sub(LOG_TAIL_LINES);
        let start = String::from("; its log ends:");
        let tail = lines.iter().skip(from);
        tail.fold(start, |tail, line| tail + "\n  " + line)
    }
}

/// Asks `/readyz`: `None` when ready, else the answer.
async fn readiness(admin: &str) -> Result<Option<String>> {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(1), ask)
        .await
        .context("no answer from /readyz within 1 s")?
        .with_context(|| format!("cannot ask {admin}/readyz"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let ready = head.split(' ').nth(1) == Some("200");
    Ok((!ready).then(|| body.trim().to_owned()))
}
