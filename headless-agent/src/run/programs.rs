//! The programs and their maps, loaded.

use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use headless_ebpf::abi::Config;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::datapath::object::{self, Capacities, KernelLog};
use crate::datapath::{Ebpf, EbpfLogger};
use crate::maps::kernel::{KernelCounters, KernelSink};
use crate::observe::snapshot::Kernel;

/// What is loaded.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Settings of the programs.
    pub(super) config: Config,
    /// Capacities of the maps.
    pub(super) capacities: Capacities,
    /// What the programs log.
    pub(super) kernel_log: KernelLog,
}

/// Verified programs, attached nowhere, and their maps, empty.
pub(super) struct Programs {
    /// The object.
    pub(super) ebpf: Ebpf,
    /// The maps, for writing.
    pub(super) sink: KernelSink,
    /// Counters and maps, for reading.
    pub(super) kernel: Arc<Kernel>,
}

impl Wanted {
    /// Loads the object; blocks. The verifier takes more than a second.
    ///
    /// # Errors
    /// Where the kernel refuses a map or a program.
    pub(super) fn load(&self) -> anyhow::Result<Programs> {
        let ebpf = object::load(&self.capacities, self.kernel_log)?;
        let mut sink = KernelSink::open(&ebpf)?;
        sink.put_config(&self.config)
            .context("cannot write the configuration")?;
        let kernel = Kernel {
            counters: KernelCounters::open(&ebpf)?,
            maps: KernelSink::open(&ebpf)?,
            capacities: self.capacities,
        };
        Ok(Programs {
            ebpf,
            sink,
            kernel: Arc::new(kernel),
        })
    }

    /// Hands what the programs log to the agent's log, from now on; `None` where they
    /// log nothing.
    pub(super) fn log(
        &self,
        ebpf: &mut Ebpf,
    ) -> anyhow::Result<Option<BoxFuture<'static, anyhow::Result<()>>>> {
        if self.kernel_log == KernelLog::Off {
            return Ok(None);
        }
        let context = "cannot follow the programs' log";
        let logger = EbpfLogger::init(ebpf).context(context)?;
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
