//! The pods behind the Service of the cluster's DNS, while the agent waits for their restart.
//!
//! The agent looks at them again and again: a watch of its own would be there for years for
//! something that hardly ever happens.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::convert::SERVICE_NAME_LABEL;
use super::kubernetes::chain;
use super::{Excerpt, ServiceRef};
use crate::corefile::{FRESH, Replacement, Uids};

/// The longest wait for the list of slices.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_mins(5);

/// The longest time from the end of [`Waits::fresh`] to the look that finds the last old pods.
/// Every pod that starts before this look counts as old, so a restart in between would be missed.
/// All agents of a cluster look at random moments of this time: with 5,000 nodes, 330 a second.
const MARK_MAX: Duration = Duration::from_secs(15);

/// How long after the end of [`Waits::fresh`] the agent looks often until it has found the last
/// old pods. Operators are told to restart CoreDNS this much later: three minutes after the change.
const MARK_TRIED: Duration = Duration::from_mins(1);

/// Time between two looks in [`MARK_TRIED`].
const MARK_AGAIN: Duration = Duration::from_secs(10);

/// How a wait for a restart goes.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// How long pods may start and read the old text: see [`FRESH`].
    pub fresh: Duration,
    /// Time between two looks. All agents of a cluster look, so they do it at random moments
    /// about so far apart: with 5,000 nodes, 30 s make 170 small lists a second. As the wait
    /// grows, it becomes a tenth of the wait, up to five minutes.
    pub look: Duration,
}

impl Waits {
    /// The right ones in a cluster.
    pub const CLUSTER: Self = Self {
        fresh: FRESH,
        look: Duration::from_secs(30),
    };

    /// A random time until the next look, `age` after the change. `knows_all` is whether the agent
    /// has found the last old pods.
    fn next(self, age: Duration, knows_all: bool) -> Duration {
        let about = if !knows_all && age >= self.fresh && age < self.fresh + MARK_TRIED {
            self.look.min(MARK_AGAIN)
        } else {
            self.look.max((age / 10).min(LOOK_MAX))
        };
        let next = about.mul_f64(0.5 + fastrand::f64());
        match self.fresh.checked_sub(age) {
            Some(left) => next.min(left + MARK_MAX.mul_f64(fastrand::f64())),
            None => next,
        }
    }
}

/// The pods as the last look has found them.
#[derive(Debug)]
enum Found {
    /// Nobody has looked yet.
    Nothing,
    /// So many of them may go by the old text.
    Old(usize),
    /// The agent could not look, for this reason.
    Failed(String),
    /// An endpoint names no pod, so their restart cannot be seen. The agent looks no more.
    Unnamed(String),
}

/// A wait for CoreDNS's pods to be replaced, since its Corefile has changed.
pub struct Restart {
    looking: BoxFuture<'static, ()>,
    found: watch::Receiver<Found>,
}

impl Restart {
    /// The Corefile has changed just now; CoreDNS's pods are the endpoints of `service`.
    pub fn new(client: Client, service: ServiceRef, waits: Waits) -> Self {
        let (sender, found) = watch::channel(Found::Nothing);
        Self {
            looking: look(client, service, waits, Instant::now(), sender).boxed(),
            found,
        }
    }

    /// Returns once all pods have been replaced, and is not to be called after that. Nothing is
    /// lost where it is dropped before.
    pub async fn over(&mut self) {
        (&mut self.looking).await;
    }

    /// The operator's part in ending the wait, for a sentence about CoreDNS.
    pub fn advice(&self) -> String {
        let found = self.found.borrow();
        let advice = match &*found {
            Found::Nothing => "the agent has not looked at them yet".into(),
            Found::Old(old) => format!("old pods left: {old}"),
            Found::Failed(why) => format!("the agent cannot look at them: {why}"),
            Found::Unnamed(why) => {
                format!("restart them, then this agent, which cannot see their restart: {why}")
            }
        };
        format!(
            "goes by the old one until its pods are restarted, three minutes after the change or \
             later, since it has no reload: {advice}"
        )
    }
}

/// Looks at the pods until all of them have been replaced.
async fn look(
    client: Client,
    service: ServiceRef,
    waits: Waits,
    since: Instant,
    found: watch::Sender<Found>,
) {
    let api: Api<EndpointSlice> = Api::namespaced(client, &service.namespace);
    let params = ListParams::default().labels(&format!("{SERVICE_NAME_LABEL}={}", service.name));
    let mut replacement = Replacement::new(waits.fresh);
    loop {
        sleep(waits.next(since.elapsed(), replacement.knows_all())).await;
        // The list is at least as new as its request.
        let age = since.elapsed();
        let slices = match timeout(ANSWER_MAX, api.list(&params)).await {
            Ok(Ok(list)) => list.items,
            Ok(Err(error)) => {
                let why = Excerpt::from(chain(&error)).to_string();
                found.send_replace(Found::Failed(why));
                continue;
            }
            Err(_) => {
                let why = "the API server has not answered within 30 s";
                found.send_replace(Found::Failed(why.to_owned()));
                continue;
            }
        };
        match pods(&slices) {
            Ok(pods) if replacement.see(&pods, age) => return,
            Ok(pods) => found.send_replace(Found::Old(replacement.old(&pods))),
            Err(why) => {
                found.send_replace(Found::Unnamed(why));
                return pending().await;
            }
        };
    }
}

/// The pods of slices, whether they are ready or not.
///
/// # Errors
/// A sentence, where an endpoint is not that of a pod.
fn pods(slices: &[EndpointSlice]) -> Result<Uids, String> {
    let uids = slices.iter().flat_map(|slice| {
        let endpoints = slice.endpoints.iter().flatten();
        endpoints.map(|endpoint| {
            uid(endpoint).ok_or_else(|| {
                let name = slice.metadata.name.clone().unwrap_or_default();
                format!("an endpoint of the EndpointSlice {name} names no pod")
            })
        })
    });
    uids.collect()
}

fn uid(endpoint: &Endpoint) -> Option<Box<str>> {
    let target = endpoint.target_ref.as_ref()?;
    let uid = target.uid.as_deref().filter(|uid| !uid.is_empty())?;
    (target.kind.as_deref() == Some("Pod")).then(|| uid.into())
}

#[cfg(test)]
mod tests;
