//! Loads the programs and opens their maps.

use std::sync::Arc;

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use headless_ebpf::abi::Config;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::object::{self, KernelLog};
use crate::maps::RecordSink as _;
use crate::maps::capacity::Capacities;
use crate::maps::kernel::{KernelConnections, KernelCounters, KernelSink};

/// The programs and maps that are to be loaded.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Settings of the programs.
    pub config: Config,
    /// The verdicts that the programs log.
    pub kernel_log: KernelLog,
}

/// The counters and maps that can be read from the kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Counters of the programs.
    pub counters: KernelCounters,
    /// TCP connections by interface.
    pub connections: KernelConnections,
    /// The maps, for reading.
    pub maps: KernelSink,
    /// Capacities of the maps.
    pub capacities: Capacities,
}

/// Verified programs, attached to no interface.
#[derive(Debug)]
pub struct Programs(pub(super) Ebpf);

/// Programs and their maps, which are empty.
pub struct Loaded {
    /// The programs.
    pub programs: Programs,
    /// The maps, for writing.
    pub sink: KernelSink,
    /// Counters and maps, for reading.
    pub kernel: Arc<Kernel>,
}

impl Wanted {
    /// Loads the object, with maps of these capacities; blocks. The verifier takes more than a second.
    ///
    /// # Errors
    /// Where the kernel refuses a map or a program.
    pub fn load(&self, capacities: Capacities) -> anyhow::Result<Loaded> {
        let ebpf = object::load(&capacities, self.kernel_log)?;
        let mut sink = KernelSink::open(&ebpf)?;
        sink.put_config(&self.config)
            .context("cannot write the configuration")?;
        let kernel = Kernel {
            counters: KernelCounters::open(&ebpf)?,
            connections: KernelConnections::open(&ebpf)?,
            maps: sink.again(&ebpf)?,
            capacities,
        };
        Ok(Loaded {
            programs: Programs(ebpf),
            sink,
            kernel: Arc::new(kernel),
        })
    }
}

impl Programs {
    /// A future that hands the programs' log lines to the agent's log. `None` where the
    /// programs log nothing.
    ///
    /// # Errors
    /// Where the ring of log lines cannot be opened.
    pub fn log(
        &mut self,
        kernel_log: KernelLog,
    ) -> anyhow::Result<Option<BoxFuture<'static, anyhow::Result<()>>>> {
        if kernel_log == KernelLog::Off {
            return Ok(None);
        }
        let context = "cannot follow the programs' log";
        let logger = EbpfLogger::init(&mut self.0).context(context)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; the logger owns one descriptor and keeps it"
        )]
        let mut logger = AsyncFd::with_interest(logger, Interest::READABLE).context(context)?;
        let follow = async move {
            loop {
                let mut ready = logger.readable_mut().await.context(context)?;
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        };
        Ok(Some(follow.boxed()))
    }
}
