//! Watches that run, and the client, the memory and the channel that they share.

use std::sync::Arc;

use futures::FutureExt as _;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::super::Problems;
use super::super::health::Health;
use super::super::waiting::WAITING_MAX;
use super::follow::{Follow, Heard, Slim, Watch};
use super::hear::{self, Overlong, Patience};
use super::watches::Watched;

/// Events that may wait for their receiver.
const HEARD_MAX: usize = 4096;

/// The running watches. Their events have objects of the slim form `T`.
pub(super) struct Running<T> {
    client: Client,
    patience: Patience,
    health: Arc<Health>,
    heard: mpsc::Sender<Heard<T>>,
    memory: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl<T: Slim + Send + 'static> Running<T> {
    /// No watch yet, and the receiver of all watches' events.
    pub(super) fn new(
        client: Client,
        patience: Patience,
        health: Arc<Health>,
    ) -> (Self, mpsc::Receiver<Heard<T>>) {
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let running = Self {
            client,
            patience,
            health,
            heard: sender,
            memory: Arc::new(Semaphore::new(WAITING_MAX as usize)),
            tasks: JoinSet::new(),
        };
        (running, heard)
    }

    /// Starts a watch. Its client records when the server sends something on the watch.
    pub(super) fn start<K: Watched>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<K>,
        config: Config,
        convert: impl Fn(&K, &mut Problems) -> Option<T> + Send + Sync + 'static,
    ) {
        let ear = self.health.listen(watch.name);
        let overlong = Overlong::default();
        let client = hear::listening(self.client.clone(), &ear, &overlong, self.patience);
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

    /// The tasks of the watches. No further watch is started, so that the events end with the
    /// watches.
    pub(super) fn into_tasks(self) -> JoinSet<()> {
        self.tasks
    }
}
