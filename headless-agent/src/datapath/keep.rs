//! The one task that owns the programs: it attaches them once the maps are filled, keeps
//! them attached, and takes them off at the end.
//!
//! Run the task on a thread of its own. Attaching blocks on locks of the kernel, and must
//! neither hold up the threads that serve requests nor wait for them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::attach::{Attacher, Decisions};
use super::discover::{News, Watcher};
use super::load::Programs;

/// How often all interfaces are compared. The kernel sends no event when a program is
/// removed, and none about traffic; a removed program should be back within a second.
const COMPARE: Duration = Duration::from_millis(800);

/// How often the routes are read whatever the events say.
const READ_ROUTES: Duration = Duration::from_secs(30);

/// The longest wait for the node's pods. No program is attached meanwhile, so that no pod is
/// answered that should not be. Afterwards the fallback holds for all.
const DECIDE: Duration = Duration::from_secs(10);

/// Waits until the node's pods are known, for a limited time.
async fn decided(decisions: &mut Decisions, stop: &CancellationToken) {
    let is_late = tokio::select! {
        () = stop.cancelled() => false,
        decided = timeout(DECIDE, decisions.wait_for(|it| it.settled)) => decided.is_err(),
    };
    if is_late {
        let (seconds, mode) = (DECIDE.as_secs(), decisions.borrow().fallback);
        warn!(
            "the pods of this node are not known after {seconds} s: until they are, the mode \
             {mode} holds for all"
        );
    }
}

/// Waits for a new decision; for ever where none can come.
async fn changed(decisions: &mut Decisions) {
    if decisions.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for the programs, which come once the maps hold the cluster. `None` where the agent is
/// to stop before. If the stage that fills the maps has ended, this waits for the agent's stop:
/// that stage reports the reason itself.
pub async fn until(
    filled: oneshot::Receiver<Programs>,
    stop: &CancellationToken,
) -> Option<Programs> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        filled = filled => {
            if filled.is_err() {
                stop.cancelled().await;
            }
            filled.ok()
        }
    }
}

/// Keeps the programs attached until `stop`, then takes them off. No event is handled after
/// `stop`.
///
/// # Errors
/// Where rtnetlink fails; the programs are taken off then, too.
pub async fn keep(mut attacher: Attacher, stop: CancellationToken) -> anyhow::Result<()> {
    // Subscribed first, read second: nothing falls in between.
    let mut watcher = Watcher::connect()?;
    let mut decisions = attacher.decisions();
    decided(&mut decisions, &stop).await;
    let [mut everything, mut links] = [READ_ROUTES, COMPARE].map(|period| {
        let mut interval = interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    let result = loop {
        // In no order, so that neither the ticks nor the events of netlink wait for ever.
        let news = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = everything.tick() => Ok(News::everything()),
            _ = links.tick() => Ok(News::of_links()),
            () = changed(&mut decisions) => Ok(News::default()),
            news = watcher.next() => news,
        };
        if stop.is_cancelled() {
            break Ok(());
        }
        // A comparison is never dropped halfway: it would leave filters that nobody knows.
        let compared = match news {
            Ok(news) => attacher.compare(&watcher, &news, &stop).await,
            Err(error) => Err(error),
        };
        if compared.is_err() {
            break compared;
        }
    };
    attacher.detach_all(&watcher).await;
    result
}
