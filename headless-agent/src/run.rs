//! `run`: starts the stages, watches over them, stops them in order.

mod corefile;
mod mirror;
mod policy;
mod source;
mod stages;
mod threads;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info};

use self::corefile::Corefile;
use self::source::Source;
use self::stages::Stages;
pub use self::threads::Threads;
use crate::config;
use crate::datapath::attach::Attacher;
use crate::datapath::load::{Programs, Wanted};
use crate::datapath::plan::Plan;
use crate::datapath::{self, keep, probe};
use crate::maps::WriteCounts;
use crate::mirror::Mirror;
use crate::observe::admin::Endpoints;
use crate::observe::probes::Signs;
use crate::observe::{Sources, log};
use crate::records::Index;
use crate::responder;
use crate::responder::server::{Responder, Server};

/// Batches of the source that may wait for the mirror.
const CHANNEL_LEN: usize = 64;

/// Follows the cluster and answers until SIGTERM or SIGINT, or until a stage
/// fails, which is the error.
pub async fn run(settle: config::Settle, threads: Threads) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let prepared = Box::pin(Prepared::new(settle, &threads)).await?;
    let mut stages = prepared.start(threads);
    let outcome = tokio::select! {
        name = signals.next() => {
            debug!("stopping on {name}");
            Ok(name)
        }
        error = stages.failure() => Err(error),
    };
    stages.stop().await;
    let name = outcome?;
    info!("stopped on {name}");
    Ok(())
}

/// Signals that ask to stop.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let context = "cannot handle signals";
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context(context)?,
            interrupt: signal(SignalKind::interrupt()).context(context)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// An agent whose addresses are bound, and which has neither loaded a program nor read
/// an object yet.
struct Prepared {
    source: Source,
    corefile: Corefile,
    sources: Sources,
    plan: Plan,
    stage: mirror::Stage,
    snapshots: watch::Sender<Arc<datapath::snapshot::Snapshot>>,
    deciding: policy::Stage,
    filled: oneshot::Receiver<Programs>,
    servers: Vec<Server>,
    admin: Endpoints,
}

impl Prepared {
    async fn new(settle: config::Settle, threads: &Threads) -> anyhow::Result<Self> {
        let (base, _) = settle(None)?;
        let client = source::client(&base.source).await?;
        let (settings, mut corefile) = Corefile::read(settle, base, client).await?;
        corefile.update(Instant::now()).ok();
        let config::Run {
            source,
            records,
            programs,
            policy,
            plan,
            pods,
            map_memory,
            kernel_log,
            listen,
            admin,
            admin_socket,
            ..
        } = settings;
        let mirror = Mirror::new(Index::new(records), programs);
        let mirror = Arc::new(mirror.standing_by(corefile.standing()));
        let source = Source::open(source, &mirror).await?;
        let deciding = policy::Stage::new(pods, &source);

        let probe = threads.datapath.call(|| {
            probe::lift_memory_lock_limit();
            probe::probe()
        });
        probe.await??;
        // Ports below 1024 need a capability that no thread keeps.
        let servers = threads.datapath.call(|| {
            let servers = listen.into_iter().map(Server::bind);
            servers.collect::<anyhow::Result<Vec<_>>>()
        });
        let servers = servers.await??;
        let endpoints = move || Endpoints::bind(admin, &admin_socket);
        let admin = threads.admin.call(endpoints).await??;
        threads.settle().await?;

        let writes = Arc::<WriteCounts>::default();
        let (snapshots, datapath) = watch::channel(Arc::default());
        let (readable, kernel) = watch::channel(None);
        let (on_filled, filled) = oneshot::channel();
        let sources = Sources {
            signs: Signs {
                mirror: Arc::clone(&mirror),
                writes: Arc::clone(&writes),
                datapath,
            },
            responder: Arc::<responder::ResponderCounts>::default(),
            kernel,
            policy: deciding.published(),
            corefile: corefile.health(),
            lease: policy.lease,
            started: Instant::now(),
        };
        let stage = mirror::Stage {
            samples: source.samples().boxed(),
            mirror,
            writes,
            policy,
            wanted: Wanted {
                config: programs,
                kernel_log,
            },
            map_memory,
            loader: threads.datapath.clone(),
            kernel: readable,
            filled: on_filled,
        };
        Ok(Self {
            source,
            corefile,
            sources,
            plan,
            stage,
            snapshots,
            deciding,
            filled,
            servers,
            admin,
        })
    }

    fn start(self, threads: Threads) -> Stages {
        let Threads {
            datapath,
            mirror,
            admin: observer,
        } = threads;
        let Self {
            source,
            corefile,
            sources,
            plan,
            stage,
            snapshots,
            deciding,
            filled,
            servers,
            admin,
        } = self;
        let mut stages = Stages::new();
        let (sender, batches) = mpsc::channel(CHANNEL_LEN);
        let shared = &sources.signs.mirror;
        let health = Arc::clone(shared.source());
        stages.spawn("source", async move {
            source.follow(health, sender).await?;
            // The mirror has stopped to listen, and says why itself.
            std::future::pending().await
        });
        stages.spawn("corefile", corefile.run(Arc::clone(shared)));
        let (log, logs) = oneshot::channel();
        let kernel_log = stage.wanted.kernel_log;
        stages.spawn("mirror", async move {
            mirror.run(move || stage.run(batches)).await?
        });
        let decisions = deciding.published().decisions;
        stages.spawn("policy", deciding.run(Arc::clone(shared)));
        stages.attach(|stop| async move {
            let Some(mut programs) = keep::until(filled, &stop).await else {
                return Ok(());
            };
            if let Some(follow) = programs.log(kernel_log)? {
                log.send(follow).ok();
            }
            let attach = async move |stop| {
                let attacher = Attacher::new(programs, plan, snapshots, decisions)?;
                keep::keep(attacher, stop).await
            };
            datapath.run(move || attach(stop)).await?
        });
        stages.spawn("kernel log", async {
            match logs.await {
                Ok(follow) => follow.await,
                Err(_) => std::future::pending().await,
            }
        });
        let responder = Responder::new(Arc::clone(shared), Arc::clone(&sources.responder));
        for server in servers {
            stages.serve(server, responder.clone());
        }
        let stop = stages.stopping();
        stages.finish("admin endpoint", async move {
            let serve = move || admin.serve(Arc::new(sources), stop);
            observer.run(serve).await?
        });
        stages.spawn("log", log::tell());
        stages
    }
}
