//! From candidates to records (CoreDNS, `plugin/backend_lookup.go` and
//! `plugin/kubernetes/reverse.go`).

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lookup::{self, Host};
use super::name::{Asked, name_below};
use super::{Chase, Found, Miss, Resolver};
use crate::records::service::endpoint_label;
use crate::watch::ServiceKind;

/// Most CNAMEs in a chain (CoreDNS, `maxCnameChainLength`).
const CHAIN_MAX: usize = 10;

/// The address record of a name.
pub(super) fn address(name: Name, ttl: u32, address: IpAddr) -> Record {
    let rdata = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name, ttl, rdata)
}

/// An external name, as written, as a name.
fn external(text: &str) -> Option<Name> {
    Name::from_labels(text.split('.').map(str::as_bytes)).ok()
}

impl Resolver<'_> {
    /// CoreDNS, `A` and `AAAA`.
    pub(super) fn addresses(&self, asked: &Asked<'_>, kind: RecordType) -> Result<Found, Miss> {
        self.chain(asked, kind, &mut Vec::new())
    }

    /// The addresses of a name that the targets so far have led to.
    fn chain(
        &self,
        asked: &Asked<'_>,
        kind: RecordType,
        targets: &mut Vec<Name>,
    ) -> Result<Found, Miss> {
        let mut found = Found::default();
        let mut seen = HashSet::new();
        for candidate in self.services(asked, kind)? {
            match &candidate.host {
                Host::Address(at) => {
                    if candidate.host.record_type() == kind && seen.insert(*at) {
                        let record = address(asked.name.clone(), self.ttl(), *at);
                        found.answers.push(record);
                    }
                }
                Host::Name(text) => {
                    let Some(target) = external(text) else {
                        continue;
                    };
                    // A name that leads to itself or to one below itself, a
                    // chain that is too long, one that comes back: left out.
                    if asked.name.zone_of(&target)
                        || targets.len() > CHAIN_MAX
                        || targets.iter().any(|earlier| earlier.eq_case(&target))
                    {
                        continue;
                    }
                    let alias = RData::CNAME(CNAME(target.clone()));
                    let alias = Record::from_rdata(asked.name.clone(), self.ttl(), alias);
                    if !self.zone.asked.zone_of(&target) {
                        found.answers.push(alias);
                        found.chase = Some(Chase {
                            target,
                            qtype: kind.into(),
                        });
                        continue;
                    }
                    targets.push(target.clone());
                    let next = Asked::new(&target, self.zone);
                    match self.chain(&next, kind, targets) {
                        // Without records of the type there is no CNAME either.
                        Ok(next) if !next.answers.is_empty() => {
                            found.answers.push(alias);
                            found.answers.extend(next.answers);
                            found.chase = next.chase;
                        }
                        Ok(_) | Err(Miss::Missing) => {}
                        Err(Miss::Unknown) => return Err(Miss::Unknown),
                    }
                }
            }
        }
        Ok(found)
    }

    /// CoreDNS, `CNAME`.
    pub(super) fn alias(&self, asked: &Asked<'_>) -> Result<Found, Miss> {
        let candidates = self.services(asked, RecordType::CNAME)?;
        let target = match candidates.first().map(|candidate| &candidate.host) {
            Some(Host::Name(text)) => external(text),
            Some(Host::Address(_)) | None => None,
        };
        let record = |target| {
            let alias = RData::CNAME(CNAME(target));
            Record::from_rdata(asked.name.clone(), self.ttl(), alias)
        };
        Ok(target.map(record).into_iter().collect::<Vec<_>>().into())
    }

    /// CoreDNS, `SRV`.
    pub(super) fn servers(&self, asked: &Asked<'_>) -> Result<Found, Miss> {
        let candidates = self.services(asked, RecordType::SRV)?;
        // Trap T9: counted before repetitions, and ports without a number, are
        // left out.
        let weight = weight(candidates.len());
        let mut found = Found::default();
        let (mut servers, mut glue) = (HashSet::new(), HashSet::new());
        for candidate in candidates {
            let Host::Address(at) = candidate.host else {
                continue;
            };
            let (Some(port), Some(target)) = (candidate.port, self.zone.below(&candidate.owner))
            else {
                continue;
            };
            if servers.insert((target.clone(), port)) {
                let server = RData::SRV(SRV::new(0, weight, port, target.clone()));
                let record = Record::from_rdata(asked.name.clone(), self.ttl(), server);
                found.answers.push(record);
            }
            if glue.insert((target.clone(), at)) {
                found.additionals.push(address(target, self.ttl(), at));
            }
        }
        Ok(found)
    }

    /// CoreDNS, `PTR`, `Reverse` and `serviceRecordForIP`.
    pub(super) fn pointers(&self, asked: &Asked<'_>) -> Result<Found, Miss> {
        let Some(at) = self.zone.reverse.then(|| reversed(asked)).flatten() else {
            return lookup::candidates(self.index, self.zone, &asked.labels)
                .map(|_| Found::default());
        };
        // The targets are in the zone as configured, not as asked.
        let zone = self.index.settings().zone.to_lowercase();
        let mut targets = Vec::new();
        for view in self.index.with_address(at) {
            let service = view.state.service.as_deref();
            let own = [view.name, view.namespace, "svc"];
            if let Some(ServiceKind::ClusterIp(addresses)) = service.map(|service| &service.kind)
                && addresses.contains(&at)
            {
                // The Service's own address is its alone.
                targets = name_below(&own, &zone).into_iter().collect();
                break;
            }
            for (endpoint, _) in view.state.endpoints.all() {
                if endpoint.address != at {
                    continue;
                }
                let label = endpoint_label(endpoint);
                let [service, namespace, svc] = own;
                let target = name_below(&[&*label, service, namespace, svc], &zone);
                targets.extend(target.filter(|target| !targets.contains(target)));
            }
        }
        if targets.is_empty() {
            return Err(Miss::Missing);
        }
        let record =
            |target| Record::from_rdata(asked.name.clone(), self.ttl(), RData::PTR(PTR(target)));
        Ok(targets.into_iter().map(record).collect::<Vec<_>>().into())
    }
}

/// The weight of each of so many SRV records: an equal share of 100, at least
/// one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "this is CoreDNS's arithmetic, rounding included"
)]
fn weight(candidates: usize) -> u16 {
    let total = (candidates * 100) as f64;
    let share = 100.0 / total * 100.0;
    (share.floor() as u16).max(1)
}

/// The address of a reverse name (CoreDNS, `ExtractAddressFromReverse`): of
/// `ip6.arpa`, four labels at a time make a group, and what is over on the left
/// is not looked at.
fn reversed(asked: &Asked<'_>) -> Option<IpAddr> {
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
    // An IPv4 address mapped into IPv6 is that IPv4 address to CoreDNS.
    let address = address.to_canonical();
    (address.is_ipv4() || !ipv4).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_equal_shares_of_a_hundred() {
        assert_eq!(
            [1, 2, 3, 6, 100, 101, 5000].map(weight),
            [100, 50, 33, 16, 1, 1, 1]
        );
        // So that it can be done in whole numbers elsewhere.
        for candidates in 1..=100u16 {
            assert_eq!(weight(candidates.into()), 100 / candidates);
        }
    }
}
