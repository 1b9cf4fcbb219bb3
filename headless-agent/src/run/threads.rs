//! The threads of the agent that are more than the runtime's.

use rustix::thread::CapabilitySet;

use crate::datapath::probe;
use crate::threads::{Worker, gain_nothing, keep_only};

/// The threads of stages that keep capabilities. All other threads have none.
#[derive(Debug)]
pub struct Threads {
    /// Loads the object, attaches the programs: `CAP_BPF`, `CAP_NET_ADMIN`, `CAP_PERFMON`.
    /// It gives up the others once the addresses are bound.
    pub(super) datapath: Worker,
    /// Runs the loop that writes the maps: see [`probe::to_use_maps`].
    pub(super) mirror: Worker,
    /// Runs the admin endpoint, which reads the maps: see [`probe::to_use_maps`]. It gives
    /// up the others once its address is bound.
    pub(super) admin: Worker,
}

impl Threads {
    /// Makes the threads, then gives up all capabilities of the calling thread. Call this
    /// before any other thread is made.
    ///
    /// # Errors
    /// Where the kernel gives no threads, or does not let capabilities be given up.
    pub fn start() -> anyhow::Result<Self> {
        gain_nothing()?;
        let threads = Self {
            datapath: Worker::start("datapath")?,
            mirror: Worker::start("mirror")?,
            admin: Worker::start("admin")?,
        };
        keep_only(CapabilitySet::empty())?;
        Ok(threads)
    }

    /// Lets each thread keep nothing but what its stage needs from now on.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let to_use_maps = probe::to_use_maps();
        for (worker, keep) in [
            (&self.datapath, probe::TO_LOAD),
            (&self.mirror, to_use_maps),
            (&self.admin, to_use_maps),
        ] {
            worker.call(move || keep_only(keep)).await??;
        }
        Ok(())
    }
}
