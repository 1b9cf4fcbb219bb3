//! A `ConfigMap` that is followed, as it was last seen.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::Instant;

use super::super::health::{FORBIDDEN_FOR, Failure, FailureReason, Health};
use super::super::kubernetes::chain;
use super::super::{Excerpt, Kind, ServiceRef};
use super::requests::Seen;

/// A `ConfigMap` as it was last seen.
#[derive(Debug)]
pub(super) enum Found {
    Waiting,
    Absent,
    Unreadable(String),
    /// Its data, and when it changed last.
    Map(BTreeMap<String, String>, Option<SystemTime>),
}

/// A `ConfigMap` that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    /// The watch's name in messages.
    name: String,
    /// Whether CoreDNS's pods run without the `ConfigMap`.
    is_optional: bool,
    pub(super) found: Found,
    /// The data that were known before the server refused to show the `ConfigMap`.
    before: Option<Found>,
    /// Why the last request has failed, if the watch does not run.
    failure: Option<String>,
    /// Since when the server has refused each request, if it has.
    refused: Option<Instant>,
    /// Records failures.
    health: Arc<Health>,
}

impl Followed {
    pub(super) fn new(reference: &ServiceRef, health: Arc<Health>) -> Self {
        Self {
            name: format!("the ConfigMap {reference}"),
            is_optional: false,
            found: Found::Waiting,
            before: None,
            failure: None,
            refused: None,
            health,
        }
    }

    /// One without which CoreDNS's pods run, such as the imported ones of AKS and k3s.
    pub(super) fn optional(reference: &ServiceRef, health: Arc<Health>) -> Self {
        Self {
            is_optional: true,
            ..Self::new(reference, health)
        }
    }

    /// Takes the server's word over. The data stay while the API server cannot be reached, and go
    /// once the server has refused to show the `ConfigMap` for [`FORBIDDEN_FOR`].
    pub(super) fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Listed(Some(map)) | Seen::Applied(map) => {
                let changed = changed(&map);
                self.find(Found::Map(files(map), changed));
            }
            Seen::Listed(None) | Seen::Deleted => self.lose(),
            Seen::Failed(error) => self.fail(&error),
        }
    }

    /// There is no such `ConfigMap` now. The kubelet empties the folder of an optional one, and
    /// leaves the files of any other as they are (`SetUpAt` in Kubernetes's
    /// pkg/volume/configmap/configmap.go).
    fn lose(&mut self) {
        let found = match mem::replace(&mut self.found, Found::Absent) {
            _ if self.is_optional => Found::Absent,
            Found::Map(data, changed) => Found::Map(data, changed),
            Found::Unreadable(_) => self.before.take().unwrap_or(Found::Absent),
            Found::Waiting | Found::Absent => Found::Absent,
        };
        self.find(found);
    }

    fn find(&mut self, found: Found) {
        self.found = found;
        self.before = None;
        self.failure = None;
        self.refused = None;
        self.health.runs(&self.name);
    }

    fn fail(&mut self, error: &kube::Error) {
        let code = match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        if code == Some(404) {
            return self.lose();
        }
        let failure = failure(error, code, &self.name);
        self.health.failed(&self.name, Kind::ConfigMap, &failure);
        let message = failure.message;
        self.failure = Some(message.clone());
        let lasts = if matches!(code, Some(401 | 403)) {
            let since = *self.refused.get_or_insert_with(Instant::now);
            since.elapsed() >= FORBIDDEN_FOR
        } else {
            self.refused = None;
            false
        };
        match &self.found {
            Found::Unreadable(_) => self.found = Found::Unreadable(message),
            Found::Absent | Found::Map(..) if lasts => {
                self.before = Some(mem::replace(&mut self.found, Found::Unreadable(message)));
            }
            // `health` tells that the `ConfigMap` may have changed since.
            Found::Waiting | Found::Absent | Found::Map(..) => {}
        }
    }

    /// Waits no longer.
    pub(super) fn give_up(&mut self) {
        if let Found::Waiting = self.found {
            let failure = self.failure.clone().unwrap_or_else(|| {
                let name = &self.name;
                format!("cannot read {name}: the API server has not answered")
            });
            self.found = Found::Unreadable(failure);
        }
    }
}

/// The failure of a request for a `ConfigMap`.
fn failure(error: &kube::Error, code: Option<u16>, name: &str) -> Failure {
    let reason = match error {
        kube::Error::Auth(_) => FailureReason::Unauthorized,
        _ => code.map_or(FailureReason::Unreachable, FailureReason::of),
    };
    let message = match code {
        Some(403) => format!(
            "not allowed to watch {name} (403): the Role headless-agent-corefile in its namespace \
             must grant list and watch on it, or --corefile none be given"
        ),
        _ => format!("cannot read {name}: {}", Excerpt::from(chain(error))),
    };
    Failure { reason, message }
}

/// The files that the kubelet makes of a `ConfigMap`, by name. Bytes that are no UTF-8 become
/// U+FFFD, as in CoreDNS's lexer.
fn files(map: ConfigMap) -> BTreeMap<String, String> {
    let mut files = map.data.unwrap_or_default();
    let binary = map.binary_data.into_iter().flatten();
    files.extend(binary.map(|(name, bytes)| {
        let text = String::from_utf8_lossy(&bytes.0).into_owned();
        (name, text)
    }));
    files
}

/// When an object was changed last, by its managed fields, or made: CoreDNS may go by the text of
/// an earlier object with the same name.
fn changed(map: &ConfigMap) -> Option<SystemTime> {
    let fields = map.metadata.managed_fields.iter().flatten();
    let times = fields.filter_map(|field| field.time.as_ref());
    let times = times.chain(map.metadata.creation_timestamp.as_ref());
    times.map(|time| SystemTime::from(time.0)).max()
}
