//! Finds out whether the API has objects that make policy by names of DNS.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use super::{Client, Patience};

/// API groups with such objects, and the resources. A policy of Cilium may allow connections to
/// the addresses of a name (`toFQDNs`), and learns these addresses from the answers that its DNS
/// proxy sees.
const DNS_POLICIES: [(&str, &[&str]); 1] = [(
    "cilium.io",
    &["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"],
)];

/// The resources of the API that make policy by names of DNS, as `RESOURCE.GROUP`.
///
/// # Errors
/// Where the server does not answer, or refuses. Every account may ask by default
/// (`system:discovery`).
pub async fn dns_policies(client: &Client, patience: Patience) -> anyhow::Result<Vec<String>> {
    let asked = timeout(patience.answer, found(client)).await;
    let seconds = Duration::as_secs_f32(&patience.answer);
    asked.with_context(|| format!("the API server has not answered within {seconds} s"))?
}

async fn found(client: &Client) -> anyhow::Result<Vec<String>> {
    let groups = client.list_api_groups().await;
    let groups = groups.context("cannot list the groups of the API")?.groups;
    let mut found = Vec::new();
    for (group, names) in DNS_POLICIES {
        let versions = groups.iter().filter(|it| it.name == group);
        let mut versions = versions
            .flat_map(|it| &it.versions)
            .map(|it| &it.group_version);
        let Some(version) = versions.next() else {
            continue;
        };
        let resources = client.list_api_group_resources(version).await;
        let resources = resources.with_context(|| format!("cannot list {version}"))?;
        let known = |name: &&&str| resources.resources.iter().any(|it| it.name == **name);
        let names = names.iter().filter(known);
        found.extend(names.map(|name| format!("{name}.{group}")));
    }
    Ok(found)
}
