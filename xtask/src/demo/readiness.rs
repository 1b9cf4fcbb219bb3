//! Second part of the demo: a pod stops being ready, and is ready again.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::answers::{self, SERVICE_NAME};
use super::cluster::{self, Cluster, WEB};
use super::screen::Screen;
use crate::lab::CLUSTER_DNS;
use crate::lab::network::Netns;
use crate::latency::{Client, Target};

/// The pod that changes.
const POD: &str = "web-1";

/// The manifest that holds its endpoint.
const FILE: &str = "nginx-headless.yaml";

/// The time between two queries. The times shown are as exact as this.
const POLL: Duration = Duration::from_millis(1);

/// The longest wait for the answer to change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Changes the `EndpointSlice` as the control plane does when a readiness probe fails and
/// then succeeds. Shows for how long the old answer was given.
///
/// # Errors
/// When the answer does not change, or an answer is neither the old nor the new one.
pub(crate) async fn show(cluster: &Cluster, screen: Screen) -> Result<()> {
    let all: BTreeSet<_> = WEB.iter().map(|(_, address)| *address).collect();
    let others: BTreeSet<_> = WEB
        .iter()
        .filter(|(name, _)| *name != POD)
        .map(|(_, address)| *address)
        .collect();

    screen.heading(&format!("{POD} stops being ready"))?;
    change(cluster, screen, false, &all, &others).await?;
    let line = format!("busybox nslookup {SERVICE_NAME}");
    let output = cluster.show(screen, &line).await?;
    let others: Vec<_> = others.into_iter().collect();
    let found = answers::nslookup_addresses(&output);
    answers::verify(screen, "nslookup", &found, &others)?;

    screen.heading(&format!("{POD} is ready again"))?;
    change(cluster, screen, true, &found, &all).await?;
    let output = cluster.show(screen, &line).await?;
    let all: Vec<_> = all.into_iter().collect();
    let found = answers::nslookup_addresses(&output);
    answers::verify(screen, "nslookup", &found, &all)
}

async fn change(
    cluster: &Cluster,
    screen: Screen,
    ready: bool,
    old: &BTreeSet<Ipv4Addr>,
    new: &BTreeSet<Ipv4Addr>,
) -> Result<()> {
    let file = cluster.manifests.join(FILE);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = with_readiness(&text, ready)?;
    let netns = Arc::clone(cluster.client.netns());
    let (old, new) = (old.clone(), new.clone());
    let elapsed = tokio::task::spawn_blocking(move || {
        let target = Target::addresses(CLUSTER_DNS, SERVICE_NAME, 0)?;
        until_answer(&netns, &target, &old, &new, || {
            cluster::replace(&file, &text)
        })
    })
    .await??;
    screen.verified(&format!(
        "the answer changed {:.1} ms after the EndpointSlice was written",
        elapsed.as_secs_f64() * 1e3
    ))
}

/// Makes the change, then asks until the answer is the new one.
fn until_answer(
    netns: &Netns,
    target: &Target,
    old: &BTreeSet<Ipv4Addr>,
    new: &BTreeSet<Ipv4Addr>,
    change: impl FnOnce() -> Result<()> + Send,
) -> Result<Duration> {
    netns.run(|| {
        let mut client = Client::new(target)?;
        let before: BTreeSet<_> = client.ask()?.into_iter().collect();
        ensure!(
            before == *old,
            "the answer was {}",
            answers::listed(&before)
        );
        let start = Instant::now();
        change()?;
        loop {
            let answer: BTreeSet<_> = client.ask()?.into_iter().collect();
            let elapsed = start.elapsed();
            if answer == *new {
                return Ok(elapsed);
            }
            ensure!(
                answer == *old,
                "an answer in between was {}",
                answers::listed(&answer)
            );
            if elapsed > CHANGE_TIMEOUT {
                bail!(
                    "the answer did not change within {} s",
                    CHANGE_TIMEOUT.as_secs()
                );
            }
            std::thread::sleep(POLL);
        }
    })
}

/// The manifests with the pod's endpoint ready or not. The text is edited in place, so the
/// rest of the file stays as the reader knows it.
fn with_readiness(text: &str, ready: bool) -> Result<String> {
    let hostname = format!("hostname: {POD}\n");
    let (head, tail) = text
        .split_once(&hostname)
        .with_context(|| format!("{FILE} has no endpoint {POD}"))?;
    let end = tail.find("- addresses:").unwrap_or(tail.len());
    let (endpoint, rest) = tail.split_at(end);
    let mut endpoint = endpoint.to_owned();
    for condition in ["ready", "serving"] {
        let from = format!(" {condition}: {}\n", !ready);
        ensure!(endpoint.contains(&from), "{POD} has no `{}`", from.trim());
        endpoint = endpoint.replace(&from, &format!(" {condition}: {ready}\n"));
    }
    Ok(format!("{head}{hostname}{endpoint}{rest}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn only_the_pods_conditions_change() {
        let text = include_str!("../../../deploy/demo/nginx-headless.yaml");
        let unready = with_readiness(text, false).unwrap();
        let changed: Vec<_> = text
            .lines()
            .zip(unready.lines())
            .filter(|(old, new)| old != new)
            .map(|(_, new)| new.trim())
            .collect();
        assert_eq!(changed, ["ready: false", "serving: false"]);
        assert_eq!(with_readiness(&unready, true).unwrap(), text);
        assert!(with_readiness(&unready, false).is_err());
    }
}
