//! A control plane on a node's loopback: etcd, and kube-apiserver with RBAC.
//!
//! No controllers run, so tests create the objects that controllers would create.

pub mod account;
pub mod line;
pub mod objects;
mod pki;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

pub use self::pki::FAR_ADDRESS;
use crate::node::Node;

/// Port of the API server.
pub const API: u16 = 6443;

/// Port of a second API server, which uses the same etcd.
pub const SECOND_API: u16 = 6444;

/// Port at which etcd serves its clients.
const ETCD: u16 = 2379;

/// Longest time that a test waits for the control plane.
const DEADLINE: Duration = Duration::from_mins(1);

/// Repeats `look` until it succeeds; panics with its last error after `DEADLINE`.
pub async fn eventually<T>(mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(missing) => assert!(
                Instant::now() < deadline,
                "gave up after {DEADLINE:?}: {missing}"
            ),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A process of the control plane. Dropping it kills the process.
#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child, log }
    }

    /// The last 4000 bytes of the process's log.
    fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(4000)..];
        String::from_utf8_lossy(end).into_owned()
    }

    /// Panics if the process has ended.
    fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended: {status}\n{}", self.name, self.log());
        }
    }

    fn stop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGKILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the end of the log of {}:\n{}", self.name, self.log());
        }
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane<'a> {
    node: &'a Node,
    // Fields are dropped in their order: the processes end before their folder is
    // deleted.
    server: Option<Process>,
    second: Option<Process>,
    etcd: Process,
    arguments: Vec<String>,
    folder: TempDir,
}

impl<'a> ControlPlane<'a> {
    /// Starts a control plane. The caller must be in the node's network namespace.
    /// `arguments` are added to the API server's command line.
    pub async fn start(node: &'a Node, arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        pki::make(folder.path());
        let etcd = etcd(node, folder.path());
        let mut plane = Self {
            node,
            server: None,
            second: None,
            etcd,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            folder,
        };
        plane.start_server().await;
        plane
    }

    /// Starts the API server and waits until it is ready.
    pub async fn start_server(&mut self) {
        assert!(self.server.is_none(), "the API server runs already");
        self.server = Some(self.launch(API).await);
    }

    /// Stops the API server in its tracks: its connections stay, and the kernel goes on
    /// acknowledging what they carry.
    pub fn freeze_server(&self) {
        self.signal_server(Signal::SIGSTOP);
    }

    /// Lets a frozen API server go on.
    pub fn thaw_server(&self) {
        self.signal_server(Signal::SIGCONT);
    }

    fn signal_server(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the API server runs");
        kill(Pid::from_raw(server.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Kills the API server.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Starts a second API server on the same store and waits until it is ready.
    pub async fn start_second(&mut self) {
        self.second = Some(self.launch(SECOND_API).await);
    }

    /// Starts an API server on `port` and waits until it is ready.
    async fn launch(&mut self, port: u16) -> Process {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = self.node.command(binary("HEADLESS_KUBE_APISERVER"));
        let options = [
            ("etcd-servers", format!("http://127.0.0.1:{ETCD}")),
            ("bind-address", "127.0.0.1".into()),
            ("secure-port", port.to_string()),
            // The node's own address: kube-apiserver refuses to advertise loopback.
            ("advertise-address", "169.254.20.10".into()),
            ("endpoint-reconciler-type", "none".into()),
            ("authorization-mode", "RBAC".into()),
            // This plugin wants service accounts that a controller would create.
            ("disable-admission-plugins", "ServiceAccount".into()),
            ("allow-privileged", "true".into()),
            ("client-ca-file", path(pki::CA)),
            ("tls-cert-file", path("apiserver.crt")),
            ("tls-private-key-file", path("apiserver.key")),
            (
                "service-cluster-ip-range",
                "10.96.0.0/12,fd00:10:96::/112".into(),
            ),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local".into(),
            ),
            ("service-account-key-file", path("sa.pub")),
            ("service-account-signing-key-file", path("sa.key")),
        ];
        for (name, value) in options {
            command.arg(format!("--{name}={value}"));
        }
        command.args(&self.arguments);
        let log = self.folder.path().join(format!("apiserver-{port}.log"));
        let mut process = Process::start("kube-apiserver", command, log);
        let client = self.client(port).await;
        eventually(async || {
            process.check();
            self.etcd.check();
            let request = http("/readyz");
            let ready = client.request_text(request).await;
            ready.map_err(|error| error.to_string())
        })
        .await;
        // The server creates these namespaces itself, shortly after it is ready.
        let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(client);
        eventually(async || {
            for name in ["default", "kube-system"] {
                let found = namespaces.get(name).await;
                found.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
        .await;
        process
    }

    /// A client of the API server on this port, with the administrator's rights.
    pub async fn client(&self, port: u16) -> Client {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let user = json!({
            "client-certificate": path("admin.crt"),
            "client-key": path("admin.key"),
        });
        let kubeconfig = self.kubeconfig_of(port, &user);
        let kubeconfig = serde_json::from_value::<Kubeconfig>(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options);
        Client::try_from(config.await.unwrap()).unwrap()
    }

    /// Writes a kubeconfig file with this bearer token; returns its path.
    pub fn kubeconfig(&self, port: u16, token: &str) -> String {
        let file = self.folder.path().join("kubeconfig");
        let kubeconfig = self.kubeconfig_of(port, &json!({ "token": token }));
        fs::write(&file, kubeconfig.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn kubeconfig_of(&self, port: u16, user: &Value) -> Value {
        let ca = self.ca();
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": ca,
            }}],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" }}],
        })
    }

    /// Path of the certificate authority's certificate.
    pub fn ca(&self) -> String {
        self.folder.path().join(pki::CA).display().to_string()
    }

    /// Writes a file into the control plane's folder; returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    /// Compacts etcd: only the latest version of each object stays readable.
    pub async fn compact(&self) {
        let range = json!({ "key": "AA==", "range_end": "AA==", "count_only": true });
        let revision = etcd_call("range", &range).await;
        let revision = revision["header"]["revision"].as_str().unwrap();
        let request = json!({ "revision": revision, "physical": true });
        etcd_call("compaction", &request).await;
    }
}

fn etcd(node: &Node, folder: &Path) -> Process {
    let mut command = node.command(binary("HEADLESS_ETCD"));
    let url = |port| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(ETCD), url(2380));
    command
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Process::start("etcd", command, folder.join("etcd.log"))
}

fn binary(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} names the binary: use `cargo xtask test`"))
        .into()
}

fn http(path: &str) -> axum::http::Request<Vec<u8>> {
    axum::http::Request::get(path).body(Vec::new()).unwrap()
}

/// Calls a method of etcd's key-value service by its JSON gateway.
async fn etcd_call(method: &str, request: &Value) -> Value {
    let body = request.to_string();
    let address = SocketAddr::from(([127, 0, 0, 1], ETCD));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let message = format!(
        "POST /v3/kv/{method} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "etcd's {method}: {answer}");
    serde_json::from_str(body).unwrap()
}
