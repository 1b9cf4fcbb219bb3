//! Chooses at the start whether the slices of every Service are watched, by their number.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::super::Kind;
use super::super::choice::{Choice, Uncounted};
use super::super::health::{FORBIDDEN_FOR, Failure, FailureReason, Health};
use super::failure::failure;
use super::follow::Backoff;
use super::hear::Patience;
use super::watches::{SLICES, SLICES_RESOURCE};

/// Counts the slices of the cluster, and chooses: all slices are watched where there are at most
/// `slices_max`.
///
/// Asks for the metadata of one object, with which the server counts the others
/// (`remainingItemCount` of `ListMeta`). Asks again until the server answers, so that an agent
/// that starts before its API server, or whose token is not accepted yet, does not have a smaller
/// scope for good. A server that has forbidden the question for half a minute does not tell the
/// number: the watches say the same of each resource, and a watch alone may be allowed. A failure
/// is an outage of the watch of slices, which ends when that watch runs.
pub async fn choose(
    client: Client,
    slices_max: u64,
    patience: Patience,
    health: &Health,
) -> Choice {
    let api: Api<EndpointSlice> = Api::all(client);
    let one = ListParams::default().limit(1);
    let mut backoff = Backoff::default();
    let mut forbidden_since = None;
    loop {
        let failure = match timeout(patience.answer, api.list_metadata(&one)).await {
            Ok(Ok(list)) => {
                return Choice {
                    slices: counted(list.items.len(), &list.metadata),
                    slices_max,
                };
            }
            Ok(Err(error)) => failure(&watcher::Error::InitialListFailed(error), SLICES_RESOURCE),
            Err(_) => Failure {
                reason: FailureReason::Unreachable,
                message: format!(
                    "cannot list {SLICES_RESOURCE}: the API server has not answered within {} s",
                    patience.answer.as_secs_f32()
                ),
            },
        };
        health.failed(SLICES, Kind::EndpointSlice, &failure);
        if failure.reason == FailureReason::Forbidden {
            let since = *forbidden_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= FORBIDDEN_FOR {
                return Choice {
                    slices: Err(Uncounted::Forbidden),
                    slices_max,
                };
            }
        } else {
            forbidden_since = None;
        }
        sleep(backoff.next()).await;
    }
}

/// Number of objects in a list of which `read` have been read. [`Uncounted::Untold`] where the
/// server has left the number out.
fn counted(read: usize, metadata: &ListMeta) -> Result<u64, Uncounted> {
    let token = metadata.continue_.as_deref().unwrap_or_default();
    let beyond = if token.is_empty() {
        0
    } else {
        let told = metadata.remaining_item_count.map(u64::try_from);
        told.and_then(Result::ok).ok_or(Uncounted::Untold)?
    };
    Ok(read as u64 + beyond)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use axum::http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::BoxError;

    use super::*;

    const PATIENCE: Patience = Patience {
        answer: Duration::from_secs(10),
        quiet: Duration::from_secs(10),
    };

    fn metadata(value: Value) -> ListMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_objects_beyond_the_first_are_counted_by_the_server() {
        for (read, list, expected) in [
            (0, json!({}), Ok(0)),
            (1, json!({ "continue": "" }), Ok(1)),
            (
                1,
                json!({ "continue": "x", "remainingItemCount": 41 }),
                Ok(42),
            ),
            (1, json!({ "continue": "x" }), Err(Uncounted::Untold)),
            (
                1,
                json!({ "continue": "x", "remainingItemCount": -1 }),
                Err(Uncounted::Untold),
            ),
        ] {
            assert_eq!(counted(read, &metadata(list.clone())), expected, "{list}");
        }
    }

    fn refusal(code: StatusCode) -> Response<Value> {
        let body = json!({
            "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": "x",
            "message": "no", "metadata": {},
        });
        let mut response = Response::new(body);
        *response.status_mut() = code;
        response
    }

    /// A server that answers each request by its number.
    fn server<F>(answer: impl Fn(u32) -> F + Send + Sync + 'static) -> Client
    where
        F: Future<Output = Response<Value>> + Send + 'static,
    {
        let asked = AtomicU32::new(0);
        let service = tower::service_fn(move |request: Request<Body>| {
            let uri = request.uri().to_string();
            let answer = answer(asked.fetch_add(1, Ordering::Relaxed));
            async move {
                assert!(uri.contains("/endpointslices?") && uri.contains("limit=1"));
                assert!(!uri.contains("Selector"), "no count: {uri}");
                let body = |body: Value| Body::from(body.to_string().into_bytes());
                Ok::<_, BoxError>(answer.await.map(body))
            }
        });
        Client::new(service, "default")
    }

    /// The outages of the watch of slices.
    fn outage(health: &Health) -> String {
        let [(Kind::EndpointSlice, why)] = &health.outages()[..] else {
            panic!("{:?}", health.outages());
        };
        why.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_is_asked_until_it_answers() {
        let client = server(|turn| async move {
            match turn {
                0 | 21 => refusal(StatusCode::SERVICE_UNAVAILABLE),
                1..=18 => refusal(StatusCode::UNAUTHORIZED),
                // Forbidden twice, each time for less than the server needs to be believed.
                19 | 20 | 22 | 23 => refusal(StatusCode::FORBIDDEN),
                24 => std::future::pending().await,
                _ => Response::new(json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": { "continue": "x", "remainingItemCount": 41 },
                    "items": [{ "metadata": { "name": "a", "namespace": "b" } }],
                })),
            }
        });
        let health = Health::default();
        let choice = choose(client, 42, PATIENCE, &health).await;
        assert_eq!(choice.slices, Ok(42));
        assert!(choice.all());
        let failures = |reason| health.failures(Kind::EndpointSlice, reason);
        assert_eq!(failures(FailureReason::Refused), 2);
        assert_eq!(failures(FailureReason::Unauthorized), 18);
        assert_eq!(failures(FailureReason::Unreachable), 1);
        assert!(outage(&health).contains("not answered within 10 s"));
        health.runs(SLICES);
        assert_eq!(health.outages(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_forbids_to_count_leaves_the_smaller_scope() {
        let start = Instant::now();
        let health = Health::default();
        let client = server(|_| async { refusal(StatusCode::FORBIDDEN) });
        let choice = choose(client, 42, PATIENCE, &health).await;
        assert_eq!(choice.slices, Err(Uncounted::Forbidden));
        assert!(!choice.all());
        assert!(choice.to_string().contains("was not allowed to count"));
        assert!(outage(&health).contains("403"));
        assert!(start.elapsed() >= FORBIDDEN_FOR, "{:?}", start.elapsed());
        assert!(start.elapsed() < 2 * FORBIDDEN_FOR, "{:?}", start.elapsed());
    }
}
