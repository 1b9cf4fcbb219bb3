//! Checks that a peer answers what the cluster says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use headless_tests::decode::addresses;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::Client;
use hickory_proto::op::ResponseCode;

use crate::cluster::{Cluster, Service};

/// Number of Services that are asked for.
const SERVICES: usize = 50;

/// The longest wait for an answer. CoreDNS is ready before its sockets are open.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The pause before a question is sent again.
const PAUSE: Duration = Duration::from_millis(20);

/// The most addresses that a reply of 512 bytes has room for with the longest name here.
const WHOLE_MAX: usize = 5;

/// Asks for a sample of the cluster's names. Returns the number of questions.
///
/// # Errors
/// When there is no answer, or a wrong one.
pub(crate) fn check(cluster: &Cluster, client: &Client) -> anyhow::Result<u64> {
    let stride = cluster.services.len().div_ceil(SERVICES);
    let mut asked = 0;
    for service in cluster.services.iter().step_by(stride) {
        asked += check_service(service, client)
            .with_context(|| format!("wrong answer for {}", service.full_name()))?;
    }
    Ok(asked)
}

fn check_service(service: &Service, client: &Client) -> anyhow::Result<u64> {
    let ask = |name: &str| {
        let start = Instant::now();
        loop {
            if let Some(reply) = client.ask(&Query::new(name, qtype::A)) {
                return Ok(reply);
            }
            ensure!(start.elapsed() < ANSWER_MAX, "no answer for {name}");
            std::thread::sleep(PAUSE);
        }
    };
    let last = service.len() - 1;
    for endpoint in [0, last / 2, last] {
        let reply = ask(&service.endpoint_name(endpoint))?;
        let found = addresses(&reply.answers);
        let expected: Vec<_> = service.ready_address(endpoint).into_iter().collect();
        ensure!(
            found == expected,
            "endpoint {endpoint} is {found:?}, not {expected:?}"
        );
    }
    let reply = ask(&service.full_name())?;
    let mut found = addresses(&reply.answers);
    found.sort_unstable();
    found.dedup();
    let endpoints = 0..service.len();
    let mut all: Vec<_> = endpoints
        .filter_map(|endpoint| service.ready_address(endpoint))
        .collect();
    all.sort_unstable();
    if all.len() <= WHOLE_MAX {
        ensure!(found == all, "addresses are {found:?}, not {all:?}");
    } else {
        let known = found.iter().all(|address| all.contains(address));
        ensure!(!found.is_empty() && known, "addresses are {found:?}");
    }
    let reply = ask(&format!("absent.{}", service.full_name()))?;
    let code = reply.metadata.response_code;
    ensure!(
        code == ResponseCode::NXDomain,
        "a name that does not exist is answered {code}"
    );
    Ok(5)
}
