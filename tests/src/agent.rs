//! The agent as a process on a node.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::node::{Node, wait_for};

/// Admin endpoint of every agent. The agents of two nodes do not clash, since each
/// node is a network namespace with its own loopback.
const ADMIN: &str = "127.0.0.1:9153";

/// Name of the admin socket in an agent's folder.
const SOCKET: &str = "admin.sock";

/// Path of the agent's binary, from the environment variable `HEADLESS_AGENT`.
pub fn binary() -> PathBuf {
    std::env::var_os("HEADLESS_AGENT")
        .expect("HEADLESS_AGENT names the agent's binary: use `cargo xtask test`")
        .into()
}

/// A temporary copy of the demo's manifests, which a test may change.
pub fn manifests() -> TempDir {
    let folder = TempDir::new().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
    for entry in fs::read_dir(demo).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Manifests of a headless Service in the namespace `default`, with one ready
/// endpoint per IPv4 address.
pub fn headless_service(name: &str, addresses: &[String]) -> String {
    let endpoints: Vec<String> = addresses
        .iter()
        .map(|address| format!("  - addresses: [\"{address}\"]\n    conditions: {{ready: true}}\n"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{clusterIP: None, clusterIPs: [None]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata:\n  name: {name}-1\n  namespace: default\n  \
         labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: IPv4\nendpoints:\n{}",
        endpoints.concat()
    )
}

/// Makes two tests of each function: one calls it with `"xdp"`, one with `"tc"`,
/// the values of the agent's option `--hook`.
#[macro_export]
macro_rules! for_each_hook {
    ($($test:ident)+) => {
        mod xdp {
            $(#[test] fn $test() { super::$test("xdp"); })+
        }
        mod tc {
            $(#[test] fn $test() { super::$test("tc"); })+
        }
    };
}

/// A running agent. Dropping it kills the process, and panics where the agent has panicked or
/// logged an error that the test did not announce.
#[derive(Debug)]
pub struct Agent<'a> {
    node: &'a Node,
    child: Child,
    /// The log and the admin socket.
    files: TempDir,
    /// Parts of the errors that the test makes.
    announced: Vec<String>,
}

impl<'a> Agent<'a> {
    /// Starts an agent that reads a folder of manifests, and waits until it is ready.
    /// Without `--listen` in `arguments` the agent has no responder, so the cluster's
    /// DNS gets every query that the programs pass.
    pub fn start(node: &'a Node, manifests: &Path, arguments: &[&str]) -> Self {
        let folder = manifests.to_str().unwrap();
        let mut agent = Self::spawn(node, &[&["--manifests", folder], arguments].concat());
        agent.ready();
        agent
    }

    /// Starts an agent and does not wait.
    pub fn spawn(node: &'a Node, arguments: &[&str]) -> Self {
        Self::spawn_by(node, &[], arguments)
    }

    /// Starts an agent through a command that replaces itself by the agent (`exec`).
    pub fn spawn_by(node: &'a Node, launcher: &[&str], arguments: &[&str]) -> Self {
        let files = TempDir::new().unwrap();
        // The launcher may make the agent another user, who makes the socket.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(files.path(), open).unwrap();
        let file = fs::File::create(files.path().join("log")).unwrap();
        let binary = binary();
        let words = launcher.iter().map(|&word| word.as_ref());
        let mut words = words.chain([binary.as_os_str()]);
        let child = node
            .command(words.next().unwrap())
            .args(words)
            .arg("run")
            .args(["--admin", ADMIN])
            .args(arguments)
            .env("HEADLESS_LOG", "info")
            .env("HEADLESS_ADMIN_SOCKET", files.path().join(SOCKET))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            node,
            child,
            files,
            announced: Vec::new(),
        }
    }

    /// Waits until `/readyz` answers 200. Panics with the log if the agent ends.
    pub fn ready(&mut self) {
        wait_for(|| {
            self.alive();
            match self.get("/readyz") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.log())),
            }
        });
    }

    /// Panics with the log if the agent has ended.
    pub fn alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the agent ended: {status}\n{}", self.log());
        }
    }

    /// Asks the admin endpoint; returns the HTTP status and the body.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let ask = || {
            let stream = TcpStream::connect(ADMIN)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(exchange(stream, path)?)
        };
        let answer = self.node.run(ask).map_err(|error| error.to_string())?;
        split(&answer)
    }

    /// Asks at the admin socket; returns the HTTP status and the body.
    pub fn ask(&self, path: &str) -> Result<(u16, String), String> {
        let ask = || {
            let stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            exchange(stream, path)
        };
        split(&ask().map_err(|error| error.to_string())?)
    }

    /// The path of the admin socket.
    pub fn socket(&self) -> PathBuf {
        self.files.path().join(SOCKET)
    }

    /// Says that the test makes the agent log errors with these words.
    pub fn announce(&mut self, words: &str) {
        self.announced.push(words.to_owned());
    }

    /// The panics and errors in the log that the test has not announced.
    fn complaints(&self) -> Vec<String> {
        let log = self.log();
        let bad = |line: &&str| {
            let level = line.split_whitespace().nth(1);
            level == Some("ERROR") || line.starts_with("thread '")
        };
        let announced = |line: &str| self.announced.iter().any(|words| line.contains(words));
        let complaints = log.lines().filter(bad).filter(|line| !announced(line));
        complaints.map(str::to_owned).collect()
    }

    /// The metrics as they are now. The agent makes their page at most once in 200 ms.
    pub fn metrics(&self) -> String {
        std::thread::sleep(Duration::from_millis(250));
        let (status, text) = self.get("/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The agent's log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap()
    }

    /// Runs a subcommand of the agent's binary; returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self
            .node
            .command(binary())
            .args(arguments)
            .env("HEADLESS_ADMIN_SOCKET", self.socket())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON of `status --output json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--output", "json"])).unwrap()
    }

    /// A number in the status, by its JSON pointer (RFC 6901).
    pub fn number(&self, pointer: &str) -> u64 {
        let status = self.status();
        let number = status.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no number at {pointer} of {status:#}"))
    }

    /// The problems that the status lists, as text to search in.
    pub fn problems(&self) -> String {
        let status = self.status();
        format!("{}\n{}", status["problems"], status["reported"])
    }

    /// State of a program (`xdp` or `tc`) on an interface; `None` for an interface
    /// that the agent does not manage.
    pub fn interface_state(&self, interface: &str, program: &str) -> Option<String> {
        let status = self.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        let found = interfaces.iter().find(|it| it["name"] == interface)?;
        Some(found[program]["state"].as_str().unwrap().to_owned())
    }

    /// Succeeds once the agent has seen that the interface has this MTU.
    pub fn has_mtu(&self, interface: &str, mtu: u32) -> Result<(), String> {
        let status = self.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        let found = interfaces.iter().find(|it| it["name"] == interface);
        if found.is_some_and(|it| it["mtu"] == mtu) {
            Ok(())
        } else {
            Err(format!("MTU {mtu}: {interfaces:?}"))
        }
    }

    /// Number of answers that the XDP and the tc program have given.
    pub fn kernel_answers(&self) -> u64 {
        self.number("/answers/xdp") + self.number("/answers/tc")
    }

    /// The agent's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits until the agent ends.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(|| {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| "the agent still runs".to_owned())
        })
    }
}

/// The longest wait for a piece of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a request and reads the answer. Version 1.0 of HTTP has no chunks.
fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The HTTP status and the body of an answer.
fn split(answer: &str) -> Result<(u16, String), String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or("no status")?, body.to_owned()))
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
        if !std::thread::panicking() {
            let complaints = self.complaints();
            assert!(complaints.is_empty(), "{complaints:#?} in\n{}", self.log());
        }
    }
}
