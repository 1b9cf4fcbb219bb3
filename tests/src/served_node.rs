//! A node on which the cluster's DNS is installed as in a cluster: CoreDNS in a pod, and the
//! rules of kube-proxy that lead the served address to it. Agents have default options.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context as _;
use headless_ebpf::abi::PodsMode;
use tokio::runtime::Runtime;

use crate::agent::Agent;
use crate::differential::apiserver::ApiServer;
use crate::differential::client::Client;
use crate::differential::cluster::{Change, Cluster};
use crate::differential::coredns::{self, Choices, CoreDns};
use crate::differential::generator::Sentinel;
use crate::differential::message::{Decoded, DnsName, Query};
use crate::differential::upstream;
use crate::frame::SERVER;
use crate::node::{Node, Pod, wait_for};

/// The node's address on each link to a pod. The API server listens on it.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Where CoreDNS's upstream resolver answers, in CoreDNS's pod.
const UPSTREAM: SocketAddr = coredns::UPSTREAM;

/// A node with an API server, and with CoreDNS in a pod. Pods reach CoreDNS at the served
/// address by the node's rules.
#[derive(Debug)]
pub struct ServedNode {
    /// The node.
    pub node: Node,
    choices: Choices,
    // CoreDNS ends before its pod's namespaces do.
    coredns: CoreDns,
    pod: Pod,
    api: Arc<ApiServer>,
    /// The API server's address.
    address: SocketAddr,
    /// Runs the API server until it is dropped.
    _runtime: Runtime,
}

/// Whether a reply has RCODE 0 and an answer.
fn has_answer(reply: &[u8]) -> bool {
    Decoded::new(reply).is_ok_and(|reply| reply.rcode() == 0 && !reply.sections[0].is_empty())
}

impl ServedNode {
    /// Starts an API server with a cluster's objects, and CoreDNS.
    pub fn start(choices: &Choices, cluster: &Cluster) -> anyhow::Result<Self> {
        let node = Node::with_service_rules(coredns::ADDRESS);
        let [.., number] = coredns::ADDRESS.octets();
        let pod = node.pod("veth-coredns", number);
        // The runtime's threads inherit the node's network namespace.
        let (runtime, (api, address)) = node.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let started = runtime.block_on(ApiServer::start(GATEWAY, cluster.objects()))?;
            Ok((runtime, started))
        })?;
        let coredns = pod.within(|| {
            upstream::serve(UPSTREAM).context("cannot serve as an upstream resolver")?;
            CoreDns::start(choices, address)
        })?;
        Ok(Self {
            node,
            choices: choices.clone(),
            coredns,
            pod,
            api,
            address,
            _runtime: runtime,
        })
    }

    /// Starts an agent that follows the API server and has no other options than `arguments`.
    /// Waits until it is ready, and until its programs are on the interfaces of `pods`.
    pub fn agent(&self, pods: &[&Pod], arguments: &[&str]) -> Agent<'_> {
        let source = format!("http://{}", self.address);
        let own = ["--api-server", &source];
        let mut agent = Agent::spawn(&self.node, &[&own, arguments].concat());
        agent.ready();
        for pod in pods {
            for program in ["xdp", "tc"] {
                wait_for(|| {
                    let state = agent.interface_state(&pod.host_end, program);
                    let attached = state.as_deref() == Some("attached");
                    let failure = format!("{program} on {}: {state:?}", pod.host_end);
                    attached.then_some(()).ok_or(failure)
                });
            }
        }
        agent
    }

    /// Changes the cluster.
    pub fn apply(&self, changes: &[Change]) {
        self.api.apply(changes);
    }

    /// Waits until CoreDNS answers the names of a sentinel (`Generator::sentinel`), and, if an
    /// agent is given, until the kernel answers them in a pod.
    pub fn wait_for_sentinel(&self, sentinel: &Sentinel, installed: Option<(&Agent<'_>, &Client)>) {
        let zone = DnsName::new(self.choices.zone);
        let mut names: Vec<&String> = sentinel.of_endpoints.iter().collect();
        names.push(&sentinel.of_service);
        // CoreDNS watches pods only in this mode.
        names.extend((self.choices.pods == PodsMode::Verified).then_some(&sentinel.pod));
        for name in names {
            let query = Query::new(DnsName::new(name).followed_by(&zone), 1).bytes();
            wait_for(|| {
                let reply = self
                    .coredns
                    .ask(&query)
                    .map_err(|error| format!("{error:#}"))?;
                let failure = format!("CoreDNS does not know {name}");
                has_answer(&reply).then_some(()).ok_or(failure)
            });
            let Some((agent, client)) = installed else {
                continue;
            };
            wait_for(|| {
                let before = agent.kernel_answers();
                let reply = client.ask(&query).map_err(|error| error.to_string())?;
                let by_kernel = agent.kernel_answers() > before;
                let known = by_kernel && has_answer(&reply);
                known
                    .then_some(())
                    .ok_or(format!("the kernel does not know {name}"))
            });
        }
    }

    /// CoreDNS, asked at its own address.
    pub fn coredns(&self) -> &CoreDns {
        &self.coredns
    }

    /// Asks CoreDNS over TCP and returns the reply.
    pub fn ask_tcp(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.pod.within(|| CoreDns::ask_tcp(query))
    }
}

/// A client in a pod of the served address.
pub fn client(pod: &Pod) -> anyhow::Result<Client> {
    pod.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((SERVER, 53))?;
        Ok(Client::by(socket, (SERVER, 53).into()))
    })
}
