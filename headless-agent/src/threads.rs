//! Threads that keep capabilities, and the end of all others.
//!
//! In Linux capabilities belong to threads, and a new thread has the capabilities of the thread
//! that made it (capabilities(7)). So the agent first makes the few threads that need
//! capabilities. Then its first thread gives up all of its own, and only then makes the runtime,
//! whose threads parse input of strangers: objects, DNS messages, HTTP requests.

use std::io;
use std::thread;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use tokio::sync::{mpsc, oneshot};

/// A piece of work for a thread.
type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A thread with a runtime of its own, which carries out one piece of work after the other.
/// It ends once all handles are dropped.
#[derive(Clone, Debug)]
pub struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Worker {
    /// Starts a thread, with the capabilities of the calling thread. The name has at most 15
    /// bytes; threads that block for the runtime have it, too.
    ///
    /// # Errors
    /// Where the kernel gives no thread, or no descriptors for the runtime.
    pub fn start(name: &'static str) -> anyhow::Result<Self> {
        let context = || format!("cannot start thread {name}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(context)?;
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        let work = move || {
            runtime.block_on(async {
                while let Some(job) = waiting.recv().await {
                    job().await;
                }
            });
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .with_context(context)?;
        Ok(Self { jobs })
    }

    /// Runs a future on the thread, after what was given to the thread before. The future
    /// is dropped, at its next pause, where nobody waits for its result any more.
    ///
    /// # Errors
    /// Where the future or an earlier one has panicked.
    pub async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (mut result, wanted) = oneshot::channel();
        let job = move || {
            let work = work();
            let job = async move {
                tokio::select! {
                    biased;
                    () = result.closed() => {}
                    value = work => {
                        result.send(value).ok();
                    }
                }
            };
            job.boxed_local()
        };
        let ended = "the thread has ended: it panicked";
        self.jobs.send(Box::new(job)).ok().context(ended)?;
        wanted.await.context(ended)
    }

    /// Runs a function on the thread, as [`Self::run`] does.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        self.run(|| async { work() }).await
    }
}

/// Keeps this thread, and all threads that it makes from now on, from ever gaining what they
/// do not have: by running a program, even as root (`PR_SET_NO_NEW_PRIVS`), or out of the
/// inheritable, ambient and bounding sets, which become empty.
///
/// Also keeps processes of the same user without capabilities from tracing the agent
/// (`PR_SET_DUMPABLE`): they may trace a thread that has no more capabilities than they have,
/// and so write the memory of the threads that have some (`ptrace_may_access`).
///
/// # Errors
/// Where the kernel refuses.
pub fn gain_nothing() -> anyhow::Result<()> {
    set_no_new_privs(true).context("cannot set no_new_privs")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot keep others from tracing the agent")?;
    clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;
    let sets = capabilities(None).context("cannot read capabilities")?;
    let sets = CapabilitySets {
        inheritable: CapabilitySet::empty(),
        ..sets
    };
    set_capabilities(None, sets).context("cannot clear the inheritable capabilities")?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // EINVAL: the kernel is older than the capability. EPERM: without CAP_SETPCAP,
            // as in the DaemonSet, the set stays, and no_new_privs makes it meaningless.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error).context("cannot empty the bounding set"),
        }
    }
    Ok(())
}

/// Gives up all capabilities of this thread except `keep`. The thread cannot take them back, and
/// gets no capability that it is not permitted. `CAP_SYS_ADMIN` is kept in the place of
/// `CAP_BPF` or `CAP_PERFMON`, which it includes (`bpf_capable` and `perfmon_capable` in
/// the kernel's include/linux/capability.h).
///
/// # Errors
/// Where the kernel refuses.
pub fn keep_only(keep: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let kept = kept(permitted, keep);
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

fn kept(permitted: CapabilitySet, keep: CapabilitySet) -> CapabilitySet {
    let kept = permitted & keep;
    let included = CapabilitySet::BPF | CapabilitySet::PERFMON;
    if (keep - kept).intersects(included) {
        kept | (permitted & CapabilitySet::SYS_ADMIN)
    } else {
        kept
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_thread_carries_out_one_piece_of_work_after_the_other() {
        let worker = Worker::start("worker").unwrap();
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(worker.call(name).await.unwrap().unwrap(), "worker");
        let slow = worker.run(|| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::time::Instant::now()
        });
        let (slow, next) = tokio::join!(slow, worker.call(std::time::Instant::now));
        assert!(slow.unwrap() <= next.unwrap());
    }

    #[tokio::test]
    async fn work_is_dropped_that_nobody_waits_for() {
        let worker = Worker::start("worker").unwrap();
        let held = Arc::new(());
        let of_work = Arc::clone(&held);
        let endless = worker.run(move || async move {
            std::future::pending::<()>().await;
            drop(of_work);
        });
        tokio::time::timeout(Duration::from_millis(20), endless)
            .await
            .unwrap_err();
        worker.call(|| ()).await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let worker = Worker::start("worker").unwrap();
        let panics = worker.call(|| panic!("as the test wants"));
        assert!(panics.await.unwrap_err().to_string().contains("panicked"));
        assert!(worker.call(|| ()).await.is_err());
    }

    #[test]
    fn a_thread_keeps_what_it_names_and_has() {
        let (bpf, admin) = (CapabilitySet::BPF, CapabilitySet::SYS_ADMIN);
        let net = CapabilitySet::NET_ADMIN;
        let all = CapabilitySet::all();
        assert_eq!(kept(all, bpf | net), bpf | net);
        assert_eq!(kept(all, CapabilitySet::empty()), CapabilitySet::empty());
        assert_eq!(kept(net, bpf | net), net);
        assert_eq!(kept(admin | net, bpf | net), admin | net);
        assert_eq!(kept(admin, net), CapabilitySet::empty());
    }

    #[test]
    fn capabilities_are_given_up_by_one_thread_alone() {
        let before = capabilities(None).unwrap();
        let narrowed = thread::spawn(|| {
            keep_only(CapabilitySet::empty()).unwrap();
            capabilities(None).unwrap()
        });
        let narrowed = narrowed.join().unwrap();
        assert_eq!(narrowed.permitted, CapabilitySet::empty());
        assert_eq!(narrowed.effective, CapabilitySet::empty());
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
