//! Tasks that run until the agent ends.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::responder::server::{Responder, Server};

/// The longest wait for the programs to be detached. A node has up to 250 pods, and removing a
/// qdisc waits for the kernel. With [`STOP_TIMEOUT`] this is less than the 10 s that Kubernetes
/// gives the agent's pod (`terminationGracePeriodSeconds` in `deploy/base`).
const DETACH_TIMEOUT: Duration = Duration::from_secs(6);

/// The longest wait for the stages to end after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The running stages. No stage ends by itself.
#[derive(Debug)]
pub(super) struct Stages {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: CancellationToken,
    /// Is cancelled when the programs are to be detached.
    detach: CancellationToken,
    /// Is cancelled once the programs are detached.
    detached: CancellationToken,
}

impl Stages {
    /// An empty set of stages.
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            detach: CancellationToken::new(),
            detached: CancellationToken::new(),
        }
    }

    /// Runs the stage that attaches the programs, and detaches them when its token is
    /// cancelled.
    pub(super) fn attach<S>(&mut self, stage: impl FnOnce(CancellationToken) -> S)
    where
        S: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let detached = self.detached.clone().drop_guard();
        let stage = stage(self.detach.clone());
        self.finish("attach", async move {
            let result = stage.await;
            drop(detached);
            result
        });
    }

    /// A token that is cancelled when the stages are to end.
    pub(super) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a stage that can be dropped at any time. Its errors count only before the stop:
    /// at the stop the stages lose each other in any order.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.finish(name, async move {
            let ended = tokio::select! {
                result = stage => result,
                () = stop.cancelled() => Ok(()),
            };
            match ended {
                Err(error) if stop.is_cancelled() => {
                    debug!("{name} ended at the stop: {error:#}");
                    Ok(())
                }
                ended => ended,
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

    /// Waits until a stage ends, which is always a failure. Returns the stage's name and its
    /// error.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("{name} ended"),
            Some(Ok((name, Err(error)))) => error.context(format!("{name} failed")),
            Some(Err(error)) => anyhow::Error::new(error).context("a stage failed"),
            None => anyhow::anyhow!("there is nothing to run"),
        }
    }

    /// Detaches the programs first, so that no program answers for an agent that is about to
    /// stop. Then ends the other stages.
    pub(super) async fn stop(mut self) {
        self.detach.cancel();
        let detached = self.detached.cancelled();
        if tokio::time::timeout(DETACH_TIMEOUT, detached)
            .await
            .is_err()
        {
            warn!("not all interfaces were detached in time");
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::{Arc, mpsc};

    use super::*;

    #[tokio::test]
    async fn programs_are_detached_before_the_other_stages_end() {
        let (sender, order) = mpsc::channel();
        let mut stages = Stages::new();
        let (stop, ended) = (stages.stopping(), sender.clone());
        stages.finish("other", async move {
            stop.cancelled().await;
            Ok(ended.send("other")?)
        });
        stages.attach(|detach| async move {
            detach.cancelled().await;
            tokio::task::yield_now().await;
            Ok(sender.send("attach")?)
        });
        stages.stop().await;
        assert_eq!(order.iter().collect::<Vec<_>>(), ["attach", "other"]);
    }

    /// As where the source goes first, and the mirror finds that its source has ended.
    #[tokio::test]
    async fn a_stage_that_loses_another_at_the_stop_does_not_fail() {
        let mut stages = Stages::new();
        let stop = stages.stopping();
        stages.spawn("mirror", async move {
            // Both ends come at once, and the failure is seen first.
            stop.cancel();
            anyhow::bail!("the source ended")
        });
        let (name, ended) = stages.tasks.join_next().await.unwrap().unwrap();
        assert_eq!(name, "mirror");
        ended.unwrap();
        let mut stages = Stages::new();
        stages.spawn("mirror", async { anyhow::bail!("the source ended") });
        let error = stages.failure().await;
        assert_eq!(format!("{error:#}"), "mirror failed: the source ended");
    }

    /// As where the kernel holds a lock that detaching needs.
    #[tokio::test]
    async fn a_detachment_that_blocks_does_not_hold_up_the_end() {
        let block = Arc::new(std::sync::Barrier::new(2));
        let blocked = Arc::clone(&block);
        let mut stages = Stages::new();
        stages.attach(|_| async move {
            let blocked = tokio::task::spawn_blocking(move || blocked.wait());
            blocked.await?;
            Ok(())
        });
        stages.stop().await;
        // Only now, and only for the test's runtime to end.
        block.wait();
    }
}
