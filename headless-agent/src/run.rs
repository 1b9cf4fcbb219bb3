//! `run`: starts the stages, watches over them, stops them in order.

mod source;
mod stages;

use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::info;

use self::source::Source;
use self::stages::Stages;
use crate::config;
use crate::datapath::attach::Attacher;
use crate::datapath::object::{self, KernelLog};
use crate::datapath::{Ebpf, EbpfLogger, keep, probe};
use crate::maps::WriteCounts;
use crate::maps::kernel::{KernelCounters, KernelSink};
use crate::maps::writer::Writer;
use crate::mirror::{Intake, Keeper, Mirror};
use crate::observe::probes::Signs;
use crate::observe::{Sources, admin};
use crate::records::Index;
use crate::responder;
use crate::responder::server::{Responder, Server};
use crate::watch::Batch;

/// Batches of changes, or link events, that may wait.
const CHANNEL_LEN: usize = 64;

/// Follows the cluster and answers until SIGTERM or SIGINT, or until a stage
/// fails, which is the error.
pub async fn run(settings: config::Run) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let prepared = Prepared::new(settings).await?;
    let mut stages = prepared.start();
    let outcome = tokio::select! {
        name = signals.next() => {
            info!("stopping on {name}");
            Ok(())
        }
        error = stages.failure() => Err(error),
    };
    stages.stop().await;
    info!("stopped");
    outcome
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

/// What can fail at the start, done: the program is loaded, addresses are
/// bound, nothing is attached.
struct Prepared {
    source: Source,
    sources: Arc<Sources>,
    keeper: Keeper<KernelSink>,
    attacher: Attacher,
    servers: Vec<Server>,
    admin: TcpListener,
    kernel_log: Option<BoxFuture<'static, anyhow::Result<()>>>,
}

impl Prepared {
    async fn new(settings: config::Run) -> anyhow::Result<Self> {
        let config::Run {
            source,
            records,
            programs,
            policy,
            plan,
            capacities,
            kernel_log,
            listen,
            admin,
        } = settings;
        let source = Source::open(source).await?;

        probe::probe()?;
        let admin = admin::bind(admin).await?;
        let servers = listen.into_iter().map(Server::bind);
        let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
        let mut ebpf = object::load(&capacities, kernel_log)?;
        let kernel_log = match kernel_log {
            KernelLog::Off => None,
            KernelLog::Info | KernelLog::Debug => Some(follow_log(&mut ebpf)?),
        };
        let mut sink = KernelSink::open(&ebpf)?;
        sink.put_config(&programs)
            .context("cannot write the configuration")?;

        let mirror = Arc::new(Mirror::new(Index::new(records), programs));
        let writes = Arc::<WriteCounts>::default();
        let names = Writer::new(sink, programs.seal_seed, Arc::clone(&writes));
        let lease = policy.lease;
        let keeper = Keeper::new(Intake::new(Arc::clone(&mirror)), names, policy);

        let counters = KernelCounters::open(&ebpf)?;
        let maps = KernelSink::open(&ebpf)?;
        let (attacher, datapath) = Attacher::new(ebpf, plan)?;
        let sources = Sources {
            signs: Signs {
                mirror,
                writes,
                datapath,
            },
            responder: Arc::<responder::Counts>::default(),
            counters,
            maps,
            capacities,
            lease,
        };
        Ok(Self {
            source,
            sources: Arc::new(sources),
            keeper,
            attacher,
            servers,
            admin,
            kernel_log,
        })
    }

    fn start(self) -> Stages {
        let Self {
            source,
            sources,
            keeper,
            attacher,
            servers,
            admin,
            kernel_log,
        } = self;
        let mut stages = Stages::new();
        let (sender, batches) = mpsc::channel(CHANNEL_LEN);
        let shared = &sources.signs.mirror;
        let health = Arc::clone(shared.source());
        stages.spawn("source", source.follow(health, sender));
        let (on_filled, filled) = watch::channel(false);
        stages.spawn("mirror", mirror(keeper, batches, on_filled));
        stages.attach(|stop| keep::keep(attacher, filled, stop));
        let responder = Responder::new(Arc::clone(shared), Arc::clone(&sources.responder));
        for server in servers {
            stages.serve(server, responder.clone());
        }
        let stop = stages.stopping();
        stages.finish("admin endpoint", admin::serve(admin, sources, stop));
        if let Some(log) = kernel_log {
            stages.spawn("kernel log", log);
        }
        stages
    }
}

/// Reads the cluster, makes the maps hold it, says so, and follows it from then on.
async fn mirror(
    mut keeper: Keeper<KernelSink>,
    mut batches: mpsc::Receiver<Batch>,
    filled: watch::Sender<bool>,
) -> anyhow::Result<()> {
    keeper.read(&mut batches).await?;
    keeper.fill().await?;
    filled.send_replace(true);
    keeper.run(batches).await
}

/// Hands what the programs log to the agent's log, from now on.
fn follow_log(ebpf: &mut Ebpf) -> anyhow::Result<BoxFuture<'static, anyhow::Result<()>>> {
    let context = "cannot follow the programs' log";
    let logger = EbpfLogger::init(ebpf).context(context)?;
    #[expect(
        deprecated,
        reason = "its replacement is unsafe; the logger owns one descriptor and keeps it"
    )]
    let mut logger = AsyncFd::with_interest(logger, Interest::READABLE).context(context)?;
    Ok(async move {
        loop {
            let mut ready = logger.readable_mut().await.context(context)?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
    .boxed())
}
