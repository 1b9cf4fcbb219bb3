//! Follows one watch of the API server: sends its list and its changes as events, and starts
//! it again after a failure.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, InitialListStrategy, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::super::health::{Ear, Health};
use super::super::waiting::WAITING_MAX;
use super::super::{Kind, Object, ObjectRef, Problems};
use super::failure::{failure, object_too_long, status};
use super::hear::Overlong;
use super::merge::Scope;

/// Delay before the second try.
const BACKOFF_MIN: Duration = Duration::from_millis(400);

/// Longest delay between tries, before jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(16);

/// How long the server keeps one watch request open, in seconds. Bookmarks make the
/// next request cheap. A server that says nothing is noticed earlier, see
/// [`super::hear`].
const REQUEST_SECONDS: u32 = 240;

/// Objects on a page of a list, as many as other clients ask for at once.
const PAGE: u32 = 500;

/// Identifies a watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Name of the watch in messages.
    pub(super) name: &'static str,
    /// Kind of its objects.
    pub(super) kind: Kind,
    /// The resource as in RBAC rules, with its group.
    pub(super) resource: &'static str,
    /// The slices that the watch selects, if it is one of several watches of slices.
    pub(super) scope: Option<Scope>,
}

impl Watch {
    /// A watch that selects all objects of its kind, or the only one that selects some.
    pub(super) const fn new(name: &'static str, kind: Kind, resource: &'static str) -> Self {
        Self {
            name,
            kind,
            resource,
            scope: None,
        }
    }
}

/// An event of a watch.
#[derive(Debug)]
pub(super) enum WatchEvent<T = Object> {
    /// The object exists. The event has the slim object, or `None` where no part of the
    /// object can be used, and the object's resource version.
    Apply(ObjectRef, Option<T>, u64),
    /// The object no longer exists, or is no longer selected.
    Delete(ObjectRef),
    /// A list begins.
    Restart,
    /// The list is complete.
    Restarted,
}

/// An event, with its watch, its time, and the problems of its object.
#[derive(Debug)]
pub(super) struct Heard<T = Object> {
    /// The watch that sent the event.
    pub(super) watch: Watch,
    /// When the event came.
    pub(super) arrived: std::time::Instant,
    /// The event.
    pub(super) event: WatchEvent<T>,
    /// The problems of the event's object.
    pub(super) problems: Problems,
    /// The memory that the event takes while it waits.
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

/// Delays that double. Each is spread by half of itself in both directions, so that the
/// nodes of a cluster do not ask at the same moment.
#[derive(Debug)]
pub(in crate::watch) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF_MIN)
    }
}

impl Backoff {
    /// The next delay.
    pub(in crate::watch) fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(BACKOFF_MAX);
        delay.mul_f64(0.5 + fastrand::f64())
    }

    /// Begins again with the least delay.
    pub(in crate::watch) fn reset(&mut self) {
        self.0 = BACKOFF_MIN;
    }
}

fn now() -> Instant {
    Instant::now()
}

/// A slim form of objects.
pub(super) trait Slim {
    /// Bytes that the object takes, about.
    fn bytes(&self) -> usize;
}

impl Slim for Object {
    fn bytes(&self) -> usize {
        self.bytes()
    }
}

/// A watch with all it needs.
pub(super) struct Follow<K, C, T = Object> {
    /// Name and kind of the watch.
    pub(super) watch: Watch,
    /// The watched resource.
    pub(super) api: Api<K>,
    /// Label or field selectors.
    pub(super) config: watcher::Config,
    /// Reduces an object to its slim form.
    pub(super) convert: C,
    /// Records failures.
    pub(super) health: Arc<Health>,
    /// Records when the server sends something on this watch.
    pub(super) ear: Ear,
    /// Says that a page of a list was too long.
    pub(super) overlong: Overlong,
    /// Receives the events.
    pub(super) heard: mpsc::Sender<Heard<T>>,
    /// The memory that waiting events may take, in bytes.
    pub(super) memory: Arc<Semaphore>,
}

/// Why [`Follow::stream`] has given up a stream.
enum Renew {
    /// The receiver of the events is gone, so no new stream is needed.
    Closed,
    /// The server cannot stream lists. The new stream lists by pages.
    Pages,
    /// A page of the list was too long. The new stream lists by shorter pages.
    ShorterPages,
    /// The server no longer has the version from which the watch should go on, an event was
    /// lost, or the pages should have their usual size again. The new stream lists again.
    List,
}

/// How far a stream has come.
#[derive(Debug, Default)]
struct State {
    /// Whether it reads a list.
    listing: bool,
    /// Whether it has read a list.
    listed: bool,
    /// Whether it has failed, and its watch has not run since.
    failing: bool,
    /// When to list again, because an event was lost. Until then, nobody knows which object has
    /// changed, so the watch counts as failed.
    lost: Option<Instant>,
}

impl State {
    /// A list is complete, or a change has come. Returns whether the watch runs again, or for
    /// the first time since the list began: a complete list ends a failure of an earlier stream,
    /// too.
    fn succeeds(&mut self) -> bool {
        let news = self.failing || self.listing;
        (self.listing, self.listed, self.failing) = (false, true, false);
        news && self.lost.is_none()
    }
}

impl<K, C, T> Follow<K, C, T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    C: Fn(&K, &mut Problems) -> Option<T>,
    T: Slim,
{
    /// Runs until the receiver of the events is gone.
    pub(super) async fn run(self) {
        let mut config = self.config.clone().timeout(REQUEST_SECONDS);
        config.initial_list_strategy = InitialListStrategy::StreamingList;
        config.page_size = Some(PAGE);
        let mut backoff = Backoff::default();
        loop {
            match self.stream(&config, &mut backoff).await {
                Renew::Closed => return,
                Renew::Pages => {
                    let name = self.watch.name;
                    info!("the API server does not stream lists, listing {name} by pages");
                    config.initial_list_strategy = InitialListStrategy::ListWatch;
                }
                Renew::ShorterPages => {
                    let page = config.page_size.unwrap_or(PAGE).div_ceil(8);
                    info!(
                        page,
                        "a page of {} is too long, asking for less", self.watch.name
                    );
                    config = config.page_size(page);
                }
                Renew::List => config.page_size = Some(PAGE),
            }
        }
    }

    /// Follows one stream of the library `kube`. The stream starts with a list, and goes
    /// on after most failures by itself.
    async fn stream(&self, config: &watcher::Config, backoff: &mut Backoff) -> Renew {
        let name = self.watch.name;
        let streaming = config.initial_list_strategy == InitialListStrategy::StreamingList;
        let mut stream = pin!(watcher(self.api.clone(), config.clone()));
        let mut heard = self.ear.subscribe();
        let mut state = State::default();
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                // The library has no event for a watch that runs again. The head of the
                // server's answer shows it.
                Ok(()) = heard.changed(), if state.failing && !state.listing => {
                    state.failing = false;
                    backoff.reset();
                    self.health.runs(name);
                    continue;
                }
                () = sleep_until(state.lost.unwrap_or_else(now)), if state.lost.is_some() => {
                    return Renew::List;
                }
            };
            let event = match event {
                None => return Renew::List,
                Some(Err(error)) => {
                    let renew = self.failed(&error, config, backoff, &mut state).await;
                    heard.mark_unchanged();
                    if let Some(renew) = renew {
                        return renew;
                    }
                    continue;
                }
                Some(Ok(event)) => event,
            };
            match event {
                watcher::Event::Init if state.listing && streaming => {
                    warn!("a streamed list of {name} broke off");
                    return Renew::Pages;
                }
                // The library would list by shorter pages again.
                watcher::Event::Init if state.listed && config.page_size != Some(PAGE) => {
                    return Renew::List;
                }
                watcher::Event::Init => state.listing = true,
                watcher::Event::InitApply(_) => {}
                watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_) => {
                    if state.succeeds() {
                        self.health.runs(name);
                    }
                    backoff.reset();
                }
            }
            if self.send(event).await.is_none() {
                return Renew::Closed;
            }
        }
    }

    /// Records an error of a stream, and waits before the next try. Returns why the stream
    /// should be given up, if it should.
    async fn failed(
        &self,
        error: &watcher::Error,
        config: &watcher::Config,
        backoff: &mut Backoff,
        state: &mut State,
    ) -> Option<Renew> {
        let Watch {
            name,
            kind,
            resource,
            ..
        } = self.watch;
        let too_long = self.overlong.take();
        if too_long && config.page_size.is_some_and(|objects| objects > 1) {
            return Some(Renew::ShorterPages);
        }
        let code = status(error).map(|status| status.code);
        let starting = matches!(error, watcher::Error::WatchStartFailed(_));
        let streaming = config.initial_list_strategy == InitialListStrategy::StreamingList;
        // A server without streaming lists does not know the parameters that ask for them.
        if streaming && starting && matches!(code, Some(400 | 422)) {
            return Some(Renew::Pages);
        }
        let failure = if too_long {
            object_too_long(resource)
        } else {
            failure(error, resource)
        };
        self.health.failed(name, kind, &failure);
        let lost = matches!(
            error,
            watcher::Error::WatchFailed(kube::Error::SerdeError(_))
        );
        if lost && !state.listing {
            // Other objects' events must not wait for the list that brings the lost one.
            let next = now() + Backoff(BACKOFF_MAX).next();
            state.lost = state.lost.or(Some(next));
            return None;
        }
        state.failing = true;
        sleep(backoff.next()).await;
        // A streamed list without the lost object would delete it. And the library lists again
        // after a 410 within a running watch, but not after a 410 to the request for a watch.
        (lost || starting && code == Some(410)).then_some(Renew::List)
    }

    /// Sends an event once there is memory for it. `None` where the receiver is gone.
    async fn send(&self, event: watcher::Event<K>) -> Option<()> {
        let mut heard = self.hear(event);
        let bytes = match &heard.event {
            WatchEvent::Apply(_, Some(object), _) => object.bytes(),
            _ => 0,
        };
        let memory = u32::try_from(bytes).unwrap_or(u32::MAX).min(WAITING_MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(memory);
        tokio::select! {
            memory = memory => heard.memory = memory.ok(),
            () = self.heard.closed() => return None,
        }
        self.heard.send(heard).await.ok()
    }

    fn hear(&self, event: watcher::Event<K>) -> Heard<T> {
        let arrived = std::time::Instant::now();
        let mut problems = Problems::default();
        let event = match event {
            watcher::Event::Init => WatchEvent::Restart,
            watcher::Event::InitDone => WatchEvent::Restarted,
            watcher::Event::Delete(object) => WatchEvent::Delete(self.reference(&object)),
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                let version = object.meta().resource_version.as_deref();
                let version = version.and_then(|version| version.parse().ok());
                let slim = (self.convert)(&object, &mut problems);
                WatchEvent::Apply(self.reference(&object), slim, version.unwrap_or_default())
            }
        };
        Heard {
            watch: self.watch,
            arrived,
            event,
            problems,
            memory: None,
        }
    }

    fn reference(&self, object: &K) -> ObjectRef {
        let metadata = object.meta();
        ObjectRef {
            kind: self.watch.kind,
            namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
            name: metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests;
