//! Tells plain questions, of which the kernel is to answer nearly all, from unusual ones.

use std::collections::BTreeSet;

use headless_agent::watch::convert::SERVICE_NAME_LABEL;

use super::query::are_usual;
use crate::differential::cluster::Cluster;
use crate::differential::message::{DnsName, Query};

/// The plain questions about one cluster: as libraries ask them, for names of the zone that
/// lead to no other names.
#[derive(Debug)]
pub struct Plain {
    zone: DnsName,
    /// Names, left of the zone, of Services that lead to other names: ExternalName Services,
    /// and Services whose endpoints have domain names in place of addresses.
    services: BTreeSet<DnsName>,
}

impl Plain {
    /// Collects the Services that lead to other names.
    pub fn new(zone: &str, cluster: &Cluster) -> Self {
        let external = cluster.services().filter_map(|service| {
            let spec = service.spec.as_ref();
            let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
            let name = external
                .then_some(service.metadata.name.as_deref())
                .flatten()?;
            Some((name, service.metadata.namespace.as_deref()?))
        });
        let aliased = cluster.slices().filter_map(|slice| {
            let labels = slice.metadata.labels.as_ref()?;
            let service = labels.get(SERVICE_NAME_LABEL)?;
            let aliased = slice.address_type == "FQDN";
            let name = aliased.then_some(service.as_str())?;
            Some((name, slice.metadata.namespace.as_deref()?))
        });
        let services = external
            .chain(aliased)
            .map(|(name, namespace)| DnsName::new(&format!("{name}.{namespace}.svc")));
        Self {
            zone: DnsName::new(zone),
            services: services.collect(),
        }
    }

    /// Whether a query is plain: of opcode QUERY, with EDNS of version 0 and with options that the
    /// programs read.
    pub fn includes(&self, query: &Query) -> bool {
        let unusual = query
            .opt
            .as_ref()
            .is_some_and(|opt| !are_usual(&opt.options) || opt.ttl & 0xff_0000 != 0);
        !unusual && query.flags & 0xfa00 == 0 && self.has(&query.name)
    }

    /// Whether a name is in the zone, leads to no other name, and is not `ns.dns`, which userspace
    /// answers.
    pub fn has(&self, name: &DnsName) -> bool {
        if !name.is_in(&self.zone) || name.0.iter().any(|label| label.len() > 63) {
            return false;
        }
        let depth = name.0.len() - self.zone.0.len();
        let DnsName(labels) = name.folded();
        if labels[..depth] == [b"ns", &b"dns"[..]] {
            return false;
        }
        let service = labels[depth.saturating_sub(3)..depth].to_vec();
        !self.services.contains(&DnsName(service))
    }
}
