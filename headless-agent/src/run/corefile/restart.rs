//! The wait for the restart of CoreDNS's pods, where they go by the old Corefile until then.

use std::future::pending;
use std::time::Instant;

use crate::config;
use crate::watch::ServiceRef;
use crate::watch::dns_pods::{Restart, Waits};
use crate::watch::kubernetes::Client;

/// The waits for restarts, one after the other.
pub(super) struct Restarts {
    /// The Service before CoreDNS's pods; `None` where the Corefile is not that of a cluster.
    service: Option<(Client, ServiceRef)>,
    waiting: Option<Waiting>,
}

/// A wait for a restart since the Corefile changed.
struct Waiting {
    since: Instant,
    /// `None` where a restart cannot be seen.
    restart: Option<Restart>,
}

impl Restarts {
    pub(super) fn new(settings: &config::Run, client: Option<Client>) -> Self {
        let service = match settings.corefile {
            config::Corefile::ConfigMap(_) => client,
            config::Corefile::File(_) | config::Corefile::None => None,
        };
        Self {
            service: service.map(|client| (client, settings.records.dns_service.clone())),
            waiting: None,
        }
    }

    /// Waits for a restart since this time, if there is one. A later change begins anew.
    pub(super) fn wait_since(&mut self, since: Option<Instant>) {
        if self.waiting.as_ref().map(|it| it.since) == since {
            return;
        }
        self.waiting = since.map(|since| Waiting {
            since,
            restart: self
                .service
                .clone()
                .map(|(client, service)| Restart::new(client, service, Waits::CLUSTER)),
        });
    }

    /// Returns once every pod of CoreDNS has been replaced. Ends the wait.
    pub(super) async fn over(&mut self) {
        match &mut self.waiting {
            Some(Waiting {
                restart: Some(restart),
                ..
            }) => restart.over().await,
            _ => pending().await,
        }
        self.waiting = None;
    }

    /// How long CoreDNS goes by the old text, for a sentence about it.
    pub(super) fn advice(&self) -> String {
        match &self.waiting {
            None => "may still go by the old one until its reload".to_owned(),
            Some(Waiting {
                restart: Some(restart),
                ..
            }) => restart.advice(),
            Some(Waiting { restart: None, .. }) => {
                "has no reload: restart CoreDNS, then this agent".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;
    use std::time::Duration;

    use axum::http::{Request, Response};
    use futures::FutureExt as _;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::json;
    use tempfile::TempDir;
    use tokio::sync::watch;
    use tokio::time::sleep;
    use tower::BoxError;

    use super::super::Corefile;
    use super::super::tests::{TEXT, started};
    use super::*;
    use crate::corefile::{Files, Part, Parts};
    use crate::mirror::Mirror;
    use crate::records::Index;
    use crate::watch::corefile::{Reading, Sought};

    /// A server with one pod of CoreDNS, whose UID a test changes.
    fn server(pod: &Arc<Mutex<&'static str>>) -> Client {
        let pod = Arc::clone(pod);
        let service = tower::service_fn(move |_: Request<Body>| {
            let list = json!({
                "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {},
                "items": [{ "metadata": { "name": "a" }, "addressType": "IPv4", "endpoints": [{
                    "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "uid": *pod.lock() },
                }]}],
            });
            let body = Body::from(list.to_string().into_bytes());
            async { Ok::<_, BoxError>(Response::new(body)) }
        });
        Client::new(service, "default")
    }

    fn text(plugin: &str) -> Reading {
        Reading::Text {
            text: TEXT.replace(" reload\n", plugin),
            files: Files::default(),
            changed: None,
        }
    }

    /// A stage that has read [`text`] without a plugin, and its index.
    async fn stage(folder: &TempDir) -> (config::Run, Corefile, Arc<Mirror>) {
        let path = folder.path().join("Corefile");
        std::fs::write(path, TEXT.replace(" reload\n", "")).unwrap();
        let (settings, mut corefile) = started(folder, &[]).await;
        corefile.following = pending().boxed();
        let index = Index::new(settings.records.clone());
        let mirror = Arc::new(Mirror::new(index, settings.programs));
        (settings, corefile, mirror)
    }

    #[tokio::test(start_paused = true)]
    async fn the_doubt_of_a_corefile_without_reload_ends_with_the_old_pods() {
        let folder = TempDir::new().unwrap();
        let (mut settings, mut corefile, mirror) = stage(&folder).await;
        let (sender, readings) = watch::channel(None);
        corefile.readings = readings;
        settings.corefile = config::Corefile::ConfigMap(Sought {
            corefile: settings.records.dns_service.clone(),
            imports: Vec::new(),
        });
        let pod = Arc::new(Mutex::new("a"));
        corefile.restarts = Restarts::new(&settings, Some(server(&pod)));
        let standing = corefile.standing();
        let running = tokio::spawn(corefile.run(mirror));
        let after = async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            let report = standing.report();
            (report.left.parts, report.reasons.join(", "))
        };
        let denials: Parts = Part::Denials.into();
        sender.send_replace(Some(text(" any\n")));
        sender.send_replace(Some(text("")));
        assert_eq!(after(2).await.0, Parts::NONE, "the same text");
        sender.send_replace(Some(text(" any\n")));
        assert_eq!(after(200).await.0, denials);
        sender.send_replace(Some(text("")));
        let (left, reasons) = after(200).await;
        assert_eq!(left, denials);
        assert!(
            reasons.ends_with("no reload: old pods left: 1"),
            "{reasons}"
        );
        *pod.lock() = "b";
        // Another change begins anew, so this pod is one of the old ones.
        sender.send_replace(Some(text(" any\n")));
        after(1).await;
        sender.send_replace(Some(text("")));
        assert_eq!(after(400).await.0, denials);
        *pod.lock() = "c";
        assert_eq!(after(100).await, (Parts::NONE, String::new()));
        sender.send_replace(Some(text(" any\n")));
        after(2).await;
        sender.send_replace(Some(text("")));
        assert_eq!(after(400).await.0, denials, "a new change is a new doubt");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_sees_the_restart_where_the_corefile_is_a_file() {
        let folder = TempDir::new().unwrap();
        let (_, mut corefile, mirror) = stage(&folder).await;
        let (sender, readings) = watch::channel(None);
        corefile.readings = readings;
        let standing = corefile.standing();
        let running = tokio::spawn(corefile.run(mirror));
        sender.send_replace(Some(text(" any\n")));
        sleep(Duration::from_hours(1)).await;
        let reasons = standing.report().reasons.join(", ");
        assert!(
            reasons.contains("restart CoreDNS, then this agent"),
            "{reasons}"
        );
        running.abort();
    }
}
