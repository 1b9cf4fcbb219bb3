//! Asks the questions of one round.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fastrand::Rng;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;

use super::Comparison;
use crate::differential::cluster::Cluster;
use crate::differential::message::{DnsName, Query};
use crate::differential::questions::{self, Questions};

/// The form of a query. It decides what the comparison may expect of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Asks as libraries do, for a name of the zone that leads to no other name. The
    /// engine is expected to answer nearly all of these.
    Plain,
    /// Every other well-formed query.
    Unusual,
    /// Some bytes are wrong. CoreDNS may fail to forward such a query.
    Mangled,
}

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The DNS message.
    pub(super) query: &'a [u8],
    /// The message as text.
    pub(super) text: &'a str,
    pub(super) form: Form,
}

impl Comparison {
    /// Asks as many questions as the plan says, and a twentieth of them once more with
    /// wrong bytes.
    pub(super) fn ask(&mut self, seed: u64) -> anyhow::Result<()> {
        let zone = self.plan.choices.zone;
        let mut questions = Questions::new(seed, zone, &self.cluster);
        let queries = questions.queries(self.plan.questions);
        self.exceptions = questions::exceptions(&self.cluster);
        let services = services_with_targets(&self.cluster);
        for query in &queries {
            let form = if self.is_plain(query, &services) {
                Form::Plain
            } else {
                Form::Unusual
            };
            let text = query.show();
            self.compare(&Question {
                query: &query.bytes(),
                text: &text,
                form,
            })
            .context(text)?;
        }
        let mut rng = Rng::with_seed(seed);
        for query in queries.iter().take(self.plan.questions / 20) {
            let bytes = mangled(query, &mut rng);
            let text = format!("mangled {} from {}", bytes.escape_ascii(), query.show());
            self.compare(&Question {
                query: &bytes,
                text: &text,
                form: Form::Mangled,
            })
            .context(text)?;
        }
        Ok(())
    }

    /// Whether a query has the form [`Form::Plain`]. `services` lead to other names.
    fn is_plain(&self, query: &Query, services: &BTreeSet<DnsName>) -> bool {
        let zone = DnsName::new(self.plan.choices.zone);
        let options = query
            .opt
            .as_ref()
            .is_some_and(|opt| !opt.options.is_empty() || opt.ttl & 0xff_0000 != 0);
        if options || query.qclass != 1 || query.flags & 0xfa00 != 0 || !query.name.is_in(&zone) {
            return false;
        }
        if query.name.0.iter().any(|label| label.len() > 63) {
            return false;
        }
        let depth = query.name.0.len() - zone.0.len();
        let DnsName(labels) = query.name.folded();
        let service = labels[depth.saturating_sub(3)..depth].to_vec();
        !services.contains(&DnsName(service))
    }
}

/// Names, left of the zone, of Services that lead to other names: ExternalName Services,
/// and Services whose endpoints have domain names in place of addresses.
fn services_with_targets(cluster: &Cluster) -> BTreeSet<DnsName> {
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
    external
        .chain(aliased)
        .map(|(name, namespace)| DnsName::new(&format!("{name}.{namespace}.svc")))
        .collect()
}

/// The query's bytes, cut off, with more bytes behind, or with one to three bytes changed.
fn mangled(query: &Query, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = query.bytes();
    match rng.u32(..4) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 => {
            let more = rng.usize(1..20);
            bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(more));
        }
        _ => {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(2..bytes.len());
                bytes[at] = rng.u8(..);
            }
        }
    }
    bytes
}
