//! `check`: what of a folder of manifests cannot be served, and why.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::args::{CheckArgs, RecordArgs, SourceKind};
use crate::records::{Index, Settings};
use crate::run::{self, ConfigError};
use crate::watch::{Keep, manifests};

impl RecordArgs {
    /// What the index needs to know, where objects come from `source`. `listen` are the
    /// agent's own addresses.
    pub fn settings(
        &self,
        source: SourceKind,
        listen: Vec<IpAddr>,
    ) -> Result<Settings, ConfigError> {
        let bad = |error: &dyn std::fmt::Display| {
            ConfigError::from(anyhow::anyhow!("zone `{}`: {error}", self.zone))
        };
        let mut zone: hickory_proto::rr::Name = self.zone.parse().map_err(|error| bad(&error))?;
        zone.set_fqdn(true);
        if zone.is_root() {
            return Err(bad(&"the root cannot be a cluster's domain"));
        }
        let service = &self.cluster_dns_service;
        Ok(Settings {
            ttl: self.ttl,
            pods: self.pods.into(),
            endpoints: self.endpoints(source),
            dns_service: (
                service.namespace.as_str().into(),
                service.name.as_str().into(),
            ),
            dns_addresses: listen,
            ..Settings::new(zone)
        })
    }

    /// What of objects is worth its memory.
    pub fn keep(&self) -> Keep {
        Keep {
            pod_names: self.endpoint_pod_names,
        }
    }
}

/// Every problem of the folder, one a line; empty where there is none.
pub async fn check(args: &CheckArgs) -> anyhow::Result<String> {
    let CheckArgs { folder, records } = args;
    let folder = folder.manifests.clone();
    run::source::folder(&folder)?;
    let mut index = Index::new(records.settings(SourceKind::Manifests, Vec::new())?);
    let keep = records.keep();
    let batch = tokio::task::spawn_blocking(move || manifests::load(&folder, keep)).await??;
    let reports = batch.reports.into_iter();
    let mut problems: Vec<_> = reports.flat_map(|report| report.problems).collect();
    index.apply_all(batch.events);
    problems.extend(index.problems());
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{problem}")?;
    }
    Ok(text)
}
