//! Tasks that run until the agent ends.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::datapath::attach::Attacher;
use crate::responder::server::{Responder, Server};

/// How long the stages may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The running stages: none of them ends by itself.
#[derive(Debug)]
pub(super) struct Stages {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: CancellationToken,
    attacher: Arc<Mutex<Attacher>>,
}

impl Stages {
    /// None yet. The interfaces of `attacher` are detached at the end.
    pub(super) fn new(attacher: Arc<Mutex<Attacher>>) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            attacher,
        }
    }

    /// Is cancelled when the stages are to end.
    pub(super) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a stage that can be dropped at any time.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.finish(name, async move {
            tokio::select! {
                result = stage => result,
                () = stop.cancelled() => Ok(()),
            }
        });
    }

    /// Runs a stage that ends by itself once told to stop.
    pub(super) fn finish(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(stage.map(move |result| (name, result)));
    }

    /// Serves an address from a thread of its own, until stopped.
    pub(super) fn serve(&mut self, server: Server, responder: Responder) {
        info!(address = %server.address(), "listening");
        let stopper = server.stopper();
        let stop = self.stop.clone();
        self.finish("responder", async move {
            let mut serving = tokio::task::spawn_blocking(move || server.serve(&responder));
            tokio::select! {
                ended = &mut serving => return ended?,
                () = stop.cancelled() => stopper.stop(),
            }
            serving.await?
        });
    }

    /// Waits until a stage ends, which none should, and says which and why.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("{name} ended"),
            Some(Ok((name, Err(error)))) => error.context(format!("{name} failed")),
            Some(Err(error)) => anyhow::Error::new(error).context("a stage failed"),
            None => anyhow::anyhow!("there is nothing to run"),
        }
    }

    /// Detaches first, so that nothing is answered by what is about to stop,
    /// then ends the stages.
    pub(super) async fn stop(mut self) {
        let attacher = Arc::clone(&self.attacher);
        let detached = tokio::task::spawn_blocking(move || attacher.lock().detach_all()).await;
        if let Err(error) = detached {
            warn!("not all interfaces detached: {error}");
        }
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    warn!("{name} failed while stopping: {error:#}");
                }
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            warn!("not all stages ended in time");
            self.tasks.abort_all();
        }
    }
}
