//! PTR records (CoreDNS, `plugin/kubernetes/reverse.go` and `PTR` in
//! `plugin/backend_lookup.go`).

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record};

use super::candidates::{self, Miss};
use super::name::{AskedName, name_below};
use super::{RECORDS_MAX, Resolver, Sections};
use crate::records::service::EndpointLabel;
use crate::watch::ENTRIES_MAX;

/// Most endpoints that one question looks at.
pub(super) const VISITED_MAX: usize = 4 * ENTRIES_MAX;

impl Resolver<'_> {
    /// PTR records. A Service's own address has that Service's name only, even if an
    /// endpoint has the address, too (CoreDNS, `serviceRecordForIP`).
    pub(super) fn ptr(&self, asked: &AskedName<'_>) -> Result<Sections, Miss> {
        let Some(at) = self.zone.reverse.then(|| reversed(asked)).flatten() else {
            return candidates::candidates(self.index, self.zone, &asked.labels)
                .map(|_| Sections::default());
        };
        // The targets end with the zone of the settings, because the question does not
        // hold it.
        let zone = self.index.settings().zone.to_lowercase();
        let targets = match self.index.owner(at) {
            Some(view) => {
                let labels = [view.name, view.namespace, "svc"];
                name_below(labels, &zone).into_iter().collect()
            }
            None if self.index.hides_holders() => return Err(Miss::Unknown),
            None => self.endpoint_names(at, &zone)?,
        };
        if targets.is_empty() {
            return Err(Miss::Missing);
        }
        let record =
            |target| Record::from_rdata(asked.name.clone(), self.ttl(), RData::PTR(PTR(target)));
        Ok(targets.into_iter().map(record).collect::<Vec<_>>().into())
    }

    /// The names of the endpoints with this address, each once, as many as a message holds.
    /// [`Miss::Unknown`] where a Service with this address has a slice that could not be read
    /// whole, or where the Services have too many endpoints to look at.
    fn endpoint_names(&self, at: IpAddr, zone: &Name) -> Result<Vec<Name>, Miss> {
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        let mut visited = 0;
        for view in self.index.named_holders(at) {
            let endpoints = &view.state.endpoints;
            visited += endpoints.len();
            if endpoints.is_partial() || visited > VISITED_MAX {
                return Err(Miss::Unknown);
            }
            for (endpoint, _) in endpoints.all() {
                if endpoint.address != at {
                    continue;
                }
                let label = EndpointLabel::of(endpoint);
                let name = name_below([&*label, view.name, view.namespace, "svc"], zone);
                names.extend(name.filter(|name| seen.insert(name.clone())));
            }
            if names.len() >= RECORDS_MAX {
                break;
            }
        }
        Ok(names)
    }
}

/// The address of a reverse name (CoreDNS, `ExtractAddressFromReverse`). Below
/// `ip6.arpa` four labels from the right make a group of the address. CoreDNS ignores
/// labels on the left that do not fill a group.
fn reversed(asked: &AskedName<'_>) -> Option<IpAddr> {
    let labels: Vec<&str> = asked.labels.iter().rev().map(String::as_str).collect();
    let ipv4 = asked
        .name
        .iter()
        .rev()
        .nth(1)?
        .eq_ignore_ascii_case(b"in-addr");
    let text = if ipv4 {
        labels.join(".")
    } else {
        let groups = labels.as_chunks::<4>().0;
        let groups: Vec<String> = groups.iter().map(|group| group.concat()).collect();
        groups.join(":")
    };
    let address: IpAddr = text.parse().ok()?;
    // CoreDNS takes an IPv4 address mapped into IPv6 for the IPv4 address.
    let address = address.to_canonical();
    (address.is_ipv4() || !ipv4).then_some(address)
}
