//! Watches the pods of this node, and the objects that decide about them.
//!
//! The API server finds the pods of a node by an index of its watch cache
//! (`spec.nodeName`), as for the node's kubelet.

use std::sync::Arc;

use anyhow::bail;
use futures::FutureExt as _;
use kube::Api;
use kube::runtime::watcher::Config;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::super::convert::{ReadNodeNamespace, ReadNodePod, node_namespace, node_pod};
use super::super::health::Health;
use super::super::node::{NodeEvent, NodeNamespace, NodeObject, NodePod};
use super::super::waiting::WAITING_MAX;
use super::super::{Kind, Problems};
use super::decoded::Decoded;
use super::follow::{Follow, Heard, Slim, Watch, WatchEvent};
use super::hear::{self, Overlong, Patience};
use super::watches::Watched;
use super::{Client, HEARD_MAX};

/// The objects that decide about the pods of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSelection {
    /// The name of this node.
    pub node: String,
}

impl Slim for NodeObject {
    fn bytes(&self) -> usize {
        let labels = match self {
            Self::Pod(NodePod { labels, .. }) => labels.as_ref(),
            Self::Namespace(NodeNamespace { .. }) => None,
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
    let (sender, mut heard) = mpsc::channel(HEARD_MAX);
    let mut running = Running {
        client,
        patience,
        health,
        heard: sender,
        memory: Arc::new(Semaphore::new(WAITING_MAX as usize)),
        tasks: JoinSet::new(),
    };
    running.all(&selection);
    let Running {
        mut tasks,
        heard: sender,
        ..
    } = running;
    // The watches have senders of their own.
    drop(sender);
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

/// The running watches.
struct Running {
    client: Client,
    patience: Patience,
    health: Arc<Health>,
    heard: mpsc::Sender<Heard<NodeObject>>,
    memory: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Running {
    fn all(&mut self, selection: &NodeSelection) {
        let pods = Watch {
            name: "pods of this node",
            kind: Kind::Pod,
            resource: "pods",
            scope: None,
        };
        let of_node = format!("spec.nodeName={}", selection.node);
        self.take::<ReadNodePod>(pods, Api::all, Config::default().fields(&of_node), |pod| {
            NodeObject::Pod(node_pod(pod))
        });
        let namespaces = Watch {
            name: "namespaces of pods",
            kind: Kind::Namespace,
            resource: "namespaces",
            scope: None,
        };
        self.take::<ReadNodeNamespace>(namespaces, Api::all, Config::default(), |namespace| {
            NodeObject::Namespace(node_namespace(namespace))
        });
    }

    /// Starts a watch.
    fn take<K: Watched>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<Decoded<K>>,
        config: Config,
        slim: impl Fn(&K) -> NodeObject + Send + Sync + 'static,
    ) {
        let ear = self.health.listen(watch.name);
        let overlong = Overlong::default();
        let client = hear::listening(self.client.clone(), &ear, &overlong, self.patience);
        let convert = move |object: &Decoded<K>, problems: &mut Problems| {
            object.slim_or(watch.kind, |it, _| Some(slim(it)), |_| None, problems)
        };
        let follow = Follow {
            watch,
            api: api(client),
            config,
            convert,
            ear,
            health: Arc::clone(&self.health),
            overlong,
            heard: self.heard.clone(),
            memory: Arc::clone(&self.memory),
        };
        self.tasks.spawn(follow.run().boxed());
    }
}
