//! A node with a control plane, agents on it, and questions to them.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use crate::agent::Agent;
use crate::control_plane::objects::{Cluster, bare_slice, managed, service_in};
use crate::control_plane::{API, ControlPlane, account, eventually};
use crate::decode;
use crate::frame::{Query, qtype};
use crate::node::Node;
use hickory_proto::op::{Message, ResponseCode};
use serde_json::json;

/// Where the agent's responder listens.
const LISTEN: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// Addresses of the pods of the cluster's DNS.
pub const DNS_PODS: [&str; 2] = ["10.244.0.2", "10.244.0.3"];

/// Only one control plane runs at a time, because each keeps two cores busy while it
/// starts.
static ONE: Mutex<()> = Mutex::new(());

/// A node, its control plane, and the cluster's objects.
pub struct Scene<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its control plane.
    pub plane: ControlPlane<'a>,
    /// The cluster's objects.
    pub cluster: Cluster,
}

/// Runs a test on a node with a control plane, whose API server gets `arguments`. The
/// cluster has the Service `kube-dns` and its EndpointSlice.
pub fn run(arguments: &[&str], test: impl AsyncFnOnce(Scene<'_>) + Send) {
    let one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let node = Node::new();
    node.run(|| {
        // The runtime's threads inherit the node's network namespace from this thread.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let plane = ControlPlane::start(&node, arguments).await;
            let cluster = Cluster(plane.client(API).await);
            let spec = json!({
                "clusterIP": "10.96.0.10",
                "selector": { "k8s-app": "kube-dns" },
                "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }],
            });
            let service = service_in("kube-system", "kube-dns", &spec);
            cluster.create(&service).await;
            let endpoints = DNS_PODS.map(|address| (address, None));
            let mut slice = bare_slice("kube-system", "kube-dns-1", "kube-dns", &endpoints);
            managed(&mut slice);
            cluster.create(&slice).await;
            test(Scene {
                node: &node,
                plane,
                cluster,
            })
            .await;
        });
        Ok(())
    })
    .unwrap();
    drop(one);
}

impl<'a> Scene<'a> {
    /// A token with the rights that `deploy/base` grants.
    pub async fn token(&self) -> String {
        account::token(&self.cluster.0, &["base"], |_| {}).await
    }

    /// Starts an agent that follows the API server on `port`. Does not wait until the
    /// agent is ready.
    pub fn spawn(&self, port: u16, token: &str, arguments: &[&str]) -> Agent<'a> {
        let kubeconfig = self.plane.kubeconfig(port, token);
        let listen = LISTEN.to_string();
        let own = ["--kubeconfig", &kubeconfig, "--listen", &listen];
        Agent::spawn(self.node, &[&own[..], arguments].concat())
    }

    /// Starts an agent with the rights that `deploy/base` grants, and waits until it is
    /// ready.
    pub async fn agent(&self, arguments: &[&str]) -> Agent<'a> {
        let mut agent = self.spawn(API, &self.token().await, arguments);
        agent.ready();
        agent
    }
}

/// Sends a query to the agent. Returns the query and the reply.
fn exchange(name: &str, qtype: u16) -> (Vec<u8>, Vec<u8>) {
    let query = Query::new(name, qtype).edns(4096).message();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((LISTEN, 53)).unwrap();
    let timeout = Some(Duration::from_secs(5));
    socket.set_read_timeout(timeout).unwrap();
    socket.send(&query).unwrap();
    let mut reply = vec![0; 65_535];
    let len = socket
        .recv(&mut reply)
        .unwrap_or_else(|error| panic!("no reply to {name}: {error}"));
    reply.truncate(len);
    (query, reply)
}

/// Asks the agent and returns its reply, after checking that it fits the query.
pub fn ask(name: &str, qtype: u16) -> Message {
    let (query, reply) = exchange(name, qtype);
    decode::message(&query, &reply)
}

/// Whether the agent leaves this question to the cluster's DNS.
pub fn refused(name: &str, qtype: u16) -> bool {
    answered(name, qtype).is_err()
}

/// The reply of the agent, as [`ask`] checks it, unless the agent leaves the question to the
/// cluster's DNS. It denies nothing while its objects may be too old.
fn answered(name: &str, qtype: u16) -> Result<Message, String> {
    let (query, reply) = exchange(name, qtype);
    let rcode = Message::from_vec(&reply).unwrap().metadata.response_code;
    if rcode == ResponseCode::Refused {
        return Err(format!("{name} is left to the cluster's DNS"));
    }
    Ok(decode::message(&query, &reply))
}

/// The RCODE of a reply, and its answers as `TYPE RDATA`, sorted.
pub fn answer(name: &str, qtype: u16) -> (ResponseCode, Vec<String>) {
    records_of(&ask(name, qtype))
}

fn records_of(reply: &Message) -> (ResponseCode, Vec<String>) {
    let mut records: Vec<_> = reply
        .answers
        .iter()
        .map(|record| format!("{} {}", record.record_type(), record.data))
        .collect();
    records.sort_unstable();
    (reply.metadata.response_code, records)
}

/// Waits until a name has exactly these addresses.
pub async fn addresses(name: &str, expected: &[&str]) {
    let mut wanted: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
    wanted.sort_unstable();
    eventually(async || {
        let mut found = Vec::new();
        for qtype in [qtype::A, qtype::AAAA] {
            found.extend(decode::addresses(&answered(name, qtype)?.answers));
        }
        found.sort_unstable();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{name} has {found:?}, not {wanted:?}"))
        }
    })
    .await;
}

/// Waits until a name is answered with this RCODE and these records.
pub async fn answers(name: &str, qtype: u16, rcode: ResponseCode, expected: &[&str]) {
    eventually(async || {
        let (code, records) = records_of(&answered(name, qtype)?);
        if code == rcode && records == expected {
            Ok(())
        } else {
            Err(format!("{name} is answered with {code} {records:?}"))
        }
    })
    .await;
}

/// Waits until a name does not exist.
pub async fn missing(name: &str) {
    answers(name, qtype::A, ResponseCode::NXDomain, &[]).await;
}

/// The value of a sample of the metrics, given by its name and labels.
fn metric(agent: &Agent<'_>, sample: &str) -> String {
    let text = agent.metrics();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    value.to_owned()
}

/// The value of a counter of the metrics.
pub fn count(agent: &Agent<'_>, sample: &str) -> u64 {
    metric(agent, sample).parse().unwrap()
}

/// Whether the agent reports that its objects may be older than the cluster's.
pub fn behind(agent: &Agent<'_>) -> bool {
    let age: f64 = metric(agent, "headless_source_age_seconds")
        .parse()
        .unwrap();
    age > 0.0
}
