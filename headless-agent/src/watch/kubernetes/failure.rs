//! Messages about requests to the API server that fail.

use std::error::Error;

use kube::core::Status;
use kube::runtime::watcher;

use super::super::Excerpt;
use super::super::health::{Failure, FailureReason};
use super::hear::OBJECT_BYTES_MAX;

/// The HTTP status, where the server gave one.
pub(super) fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// The RBAC verb of the request.
fn verb(error: &watcher::Error) -> &'static str {
    match error {
        watcher::Error::InitialListFailed(_) => "list",
        watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => "watch",
    }
}

/// The failure of a request for the resource, which is named as in RBAC rules with its
/// group: `endpointslices.discovery.k8s.io`.
pub(super) fn failure(error: &watcher::Error, resource: &str) -> Failure {
    let verb = verb(error);
    let Some(status) = status(error) else {
        return transport(error, verb, resource);
    };
    let said = Excerpt::from(&status.message);
    let reason = FailureReason::of(status.code);
    let message = match reason {
        FailureReason::Unauthorized => format!(
            "the API server does not know who asks to {verb} {resource} (401): {said}; the \
             token or the client certificate is missing, wrong or expired"
        ),
        FailureReason::Forbidden => format!(
            "not allowed to {verb} {resource} (403): {said}; the agent's ClusterRole must \
             grant list and watch on it"
        ),
        FailureReason::Gone => {
            format!("the last known version of {resource} is too old, listing again: {said}")
        }
        _ => format!("cannot {verb} {resource} ({}): {said}", status.code),
    };
    Failure { reason, message }
}

/// The failure of a list of which one object alone is too long for a page.
pub(super) fn object_too_long(resource: &str) -> Failure {
    let most = OBJECT_BYTES_MAX >> 20;
    Failure {
        reason: FailureReason::Unreachable,
        message: format!("cannot list {resource}: an object has more than {most} MiB of JSON"),
    }
}

fn transport(error: &watcher::Error, verb: &str, resource: &str) -> Failure {
    let inner = match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => inner as &dyn Error,
        other => other,
    };
    let unauthorized = matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Auth(_))
            | watcher::Error::WatchStartFailed(kube::Error::Auth(_))
    );
    Failure {
        reason: if unauthorized {
            FailureReason::Unauthorized
        } else {
            FailureReason::Unreachable
        },
        message: format!("cannot {verb} {resource}: {}", Excerpt::from(chain(inner))),
    }
}

/// The error and its causes, each text once.
pub(in crate::watch) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        let status = Status::failure(message, "").with_code(code);
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn the_verb_and_the_resource_are_named() {
        let error = watcher::Error::InitialListFailed(api(403, "no"));
        let failure = failure(&error, "endpointslices.discovery.k8s.io");
        assert_eq!(failure.reason, FailureReason::Forbidden);
        assert_eq!(
            failure.message,
            "not allowed to list endpointslices.discovery.k8s.io (403): no; the agent's \
             ClusterRole must grant list and watch on it"
        );
    }

    #[test]
    fn each_status_has_its_reason() {
        let reason = |code| {
            let error = watcher::Error::WatchStartFailed(api(code, "no"));
            failure(&error, "services").reason
        };
        assert_eq!(reason(401), FailureReason::Unauthorized);
        assert_eq!(reason(410), FailureReason::Gone);
        assert_eq!(reason(404), FailureReason::NotFound);
        assert_eq!(reason(500), FailureReason::Refused);
    }

    #[test]
    fn causes_are_told_once() {
        let cause = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let error = watcher::Error::WatchStartFailed(kube::Error::Service(cause.into()));
        let failure = failure(&error, "pods");
        assert_eq!(failure.reason, FailureReason::Unreachable);
        assert_eq!(failure.message, "cannot watch pods: ServiceError: refused");
    }
}
