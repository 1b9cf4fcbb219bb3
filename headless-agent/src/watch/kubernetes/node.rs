//! Watches the pods of this node, and the objects that decide about them.
//!
//! The API server finds the pods of a node by an index of its watch cache
//! (`spec.nodeName`), as for the node's kubelet.

use std::sync::Arc;

use anyhow::bail;
use kube::Api;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;

use super::super::convert::{
    ReadDnsService, ReadNetworkPolicy, ReadNodeNamespace, ReadNodePod, dns_service, network_policy,
    node_namespace, node_pod, unreadable_policy,
};
use super::super::health::Health;
use super::super::network::DnsService;
use super::super::node::{NodeEvent, NodeNamespace, NodeObject, NodePod};
use super::super::{Kind, ServiceRef};
use super::Client;
use super::decoded::Decoded;
use super::follow::{Heard, Slim, Watch, WatchEvent};
use super::hear::Patience;
use super::running::Running;
use super::watches::Watched;

/// The objects that decide about the pods of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSelection {
    /// The name of this node.
    pub node: String,
    /// The Service of the cluster's DNS, if `NetworkPolicies` are watched.
    pub policies_about: Option<ServiceRef>,
}

impl Slim for NodeObject {
    fn bytes(&self) -> usize {
        let labels = match self {
            Self::Pod(NodePod { labels, .. })
            | Self::Namespace(NodeNamespace { labels, .. })
            | Self::DnsService(DnsService { labels, .. }) => labels.as_ref(),
            Self::NetworkPolicy(policy) => return 256 + policy.bytes(),
        };
        let labels = labels.into_iter().flatten();
        let bytes = labels.map(|(key, value)| 64 + key.len() + value.len());
        256 + bytes.sum::<usize>()
    }
}

/// Follows these objects until the receiver is dropped. Failures are in `health`, which is not
/// that of the records' watches: no answer depends on these objects.
///
/// # Errors
/// When a watch ends, which none should.
pub async fn watch_node(
    client: Client,
    selection: NodeSelection,
    patience: Patience,
    health: Arc<Health>,
    events: mpsc::Sender<NodeEvent>,
) -> anyhow::Result<()> {
    let (mut running, mut heard) = Running::new(client, patience, health);
    all(&mut running, &selection);
    let mut tasks = running.into_tasks();
    loop {
        let heard = tokio::select! {
            heard = heard.recv() => heard,
            () = events.closed() => return Ok(()),
            Some(ended) = tasks.join_next() => {
                ended?;
                bail!("a watch ended");
            }
        };
        let Some(heard) = heard else {
            bail!("all watches ended");
        };
        if events.send(event(heard)).await.is_err() {
            return Ok(());
        }
    }
}

fn event(heard: Heard<NodeObject>) -> NodeEvent {
    match heard.event {
        WatchEvent::Apply(reference, object, _) => {
            NodeEvent::Apply(reference, object, heard.problems)
        }
        WatchEvent::Delete(reference) => NodeEvent::Delete(reference),
        WatchEvent::Restart => NodeEvent::Restart(heard.watch.kind),
        WatchEvent::Restarted => NodeEvent::Restarted(heard.watch.kind),
    }
}

/// Makes the slim form of an object that does not decode.
type Unreadable = fn() -> NodeObject;

fn all(running: &mut Running<NodeObject>, selection: &NodeSelection) {
    let pods = Watch::new("pods of this node", Kind::Pod, "pods");
    let of_node = format!("spec.nodeName={}", selection.node);
    let config = Config::default().fields(&of_node);
    start::<ReadNodePod>(running, pods, Api::all, config, None, |pod| {
        NodeObject::Pod(node_pod(pod))
    });
    let namespaces = Watch::new("namespaces of pods", Kind::Namespace, "namespaces");
    let about = selection.policies_about.clone();
    let slim = move |namespace: &ReadNodeNamespace| {
        let name = namespace.metadata.name.as_ref();
        let is_of_dns = about.as_ref().map(|it| &it.namespace) == name;
        NodeObject::Namespace(node_namespace(namespace, is_of_dns))
    };
    start(running, namespaces, Api::all, Config::default(), None, slim);
    if let Some(about) = &selection.policies_about {
        policies(running, about);
    }
}

/// Watches `NetworkPolicies`, and the Service that they are about.
fn policies(running: &mut Running<NodeObject>, about: &ServiceRef) {
    let policies = Watch::new(
        "networkpolicies",
        Kind::NetworkPolicy,
        "networkpolicies.networking.k8s.io",
    );
    let slim = |policy: &ReadNetworkPolicy| NodeObject::NetworkPolicy(network_policy(policy));
    let unreadable: Unreadable = || NodeObject::NetworkPolicy(unreadable_policy());
    start(
        running,
        policies,
        Api::all,
        Config::default(),
        Some(unreadable),
        slim,
    );
    let service = Watch::new(
        "the Service of the cluster's DNS",
        Kind::Service,
        "services",
    );
    let name = format!("metadata.name={}", about.name);
    let namespace = about.namespace.clone();
    start::<ReadDnsService>(
        running,
        service,
        move |client| Api::namespaced(client, &namespace),
        Config::default().fields(&name),
        None,
        |service| NodeObject::DnsService(dns_service(service)),
    );
}

/// Starts a watch. `unreadable` stands for an object that does not decode.
fn start<K: Watched>(
    running: &mut Running<NodeObject>,
    watch: Watch,
    api: impl FnOnce(Client) -> Api<Decoded<K>>,
    config: Config,
    unreadable: Option<Unreadable>,
    slim: impl Fn(&K) -> NodeObject + Send + Sync + 'static,
) {
    let kind = watch.kind;
    running.start(watch, api, config, move |object: &Decoded<K>, problems| {
        let broken = |_| unreadable.map(|make| make());
        object.slim_or(kind, |it, _| Some(slim(it)), broken, problems)
    });
}
