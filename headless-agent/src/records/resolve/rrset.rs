//! From candidates to records (CoreDNS, `plugin/backend_lookup.go` and
//! `plugin/kubernetes/reverse.go`).

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::{CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lookup::{self, Host, Miss};
use super::name::{Asked, name_below};
use super::{Chase, Found, Resolver};
use crate::records::index::ServiceView;
use crate::records::service::endpoint_label;
use crate::watch::ServiceKind;

/// Most CNAMEs in a chain (CoreDNS, `maxCnameChainLength`).
const CHAIN_MAX: usize = 10;

/// Most CNAMEs that are followed for one question. CoreDNS knows no such limit, but
/// slices whose domain names lead to Services with such slices multiply with each link.
const FOLLOWED_MAX: usize = 256;

/// The CNAMEs that have been followed for one question.
#[derive(Default)]
struct Trail {
    /// Targets of the CNAMEs that lead to the present name.
    targets: Vec<Name>,
    /// Number of CNAMEs followed so far, dead ends included.
    followed: usize,
}

/// An external name, as written, as a name.
fn external(text: &str) -> Option<Name> {
    Name::from_labels(text.split('.').map(str::as_bytes)).ok()
}

impl Resolver<'_> {
    /// CoreDNS, `A` and `AAAA`.
    pub(super) fn addresses(&self, asked: &Asked<'_>, kind: RecordType) -> Result<Found, Miss> {
        self.chain(asked, kind, &mut Trail::default())
    }

    /// The addresses of a name to which the trail has led.
    fn chain(&self, asked: &Asked<'_>, kind: RecordType, trail: &mut Trail) -> Result<Found, Miss> {
        let mut found = Found::default();
        let mut seen = HashSet::new();
        let candidates = self.services(asked, kind)?;
        for candidate in &candidates {
            match &candidate.host {
                Host::Address(at) => {
                    if candidate.host.record_type() == kind && seen.insert(*at) {
                        let record = self.address_record(asked.name.clone(), *at);
                        found.answers.push(record);
                    }
                }
                Host::Name(text) => {
                    let Some(target) = external(text) else {
                        continue;
                    };
                    let next = self.follow(asked, kind, target, trail)?;
                    if next.chase.is_some() && candidates.len() > 1 {
                        // `Found` holds one look-up elsewhere, for an answer that is
                        // nothing without it.
                        return Err(Miss::Unknown);
                    }
                    found.answers.extend(next.answers);
                    found.chase = next.chase;
                }
            }
        }
        Ok(found)
    }

    /// The CNAME from `asked` to `target` with the records behind it, or no records
    /// where there are none behind it.
    fn follow(
        &self,
        asked: &Asked<'_>,
        kind: RecordType,
        target: Name,
        trail: &mut Trail,
    ) -> Result<Found, Miss> {
        // A name that leads to itself or to one below itself, a chain that is too long,
        // one that comes back: left out.
        if asked.name.zone_of(&target)
            || trail.targets.len() > CHAIN_MAX
            || trail.targets.iter().any(|earlier| earlier.eq_case(&target))
        {
            return Ok(Found::default());
        }
        trail.followed += 1;
        if trail.followed > FOLLOWED_MAX {
            return Err(Miss::Unknown);
        }
        let alias = RData::CNAME(CNAME(target.clone()));
        let mut answers = vec![Record::from_rdata(asked.name.clone(), self.ttl(), alias)];
        if !self.zone.asked.zone_of(&target) {
            let chase = Some(Chase {
                target,
                qtype: kind.into(),
            });
            return Ok(Found {
                answers,
                chase,
                ..Found::default()
            });
        }
        trail.targets.push(target.clone());
        let next = self.chain(&Asked::new(&target, self.zone), kind, trail);
        trail.targets.pop();
        match next {
            Ok(next) if !next.answers.is_empty() => {
                answers.extend(next.answers);
                Ok(Found {
                    answers,
                    chase: next.chase,
                    ..Found::default()
                })
            }
            Ok(_) | Err(Miss::Missing) => Ok(Found::default()),
            Err(Miss::Unknown) => Err(Miss::Unknown),
        }
    }

    /// CoreDNS, `CNAME`: the first candidate decides, and which one is the first is
    /// left to chance among slices. So the answer is known only where all are alike.
    pub(super) fn alias(&self, asked: &Asked<'_>) -> Result<Found, Miss> {
        let candidates = self.services(asked, RecordType::CNAME)?;
        let mut targets = candidates.iter().map(|candidate| match &candidate.host {
            Host::Name(text) => Some(&**text),
            Host::Address(_) => None,
        });
        let first = targets.next().flatten();
        if !targets.all(|target| target == first) {
            return Err(Miss::Unknown);
        }
        let target = first.and_then(external);
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
                found.additionals.push(self.address_record(target, at));
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
        // An address of a Service itself has no name but that Service's.
        let own = self.index.with_address(at).find(|view| is_own(view, at));
        let targets = match own {
            Some(view) => {
                let labels = [view.name, view.namespace, "svc"];
                name_below(&labels, &zone).into_iter().collect()
            }
            None => self.endpoint_names(at, &zone)?,
        };
        if targets.is_empty() {
            return Err(Miss::Missing);
        }
        let record =
            |target| Record::from_rdata(asked.name.clone(), self.ttl(), RData::PTR(PTR(target)));
        Ok(targets.into_iter().map(record).collect::<Vec<_>>().into())
    }

    /// The names of endpoints with this address, each once. Unknown where a slice that
    /// has the address could not be read whole.
    fn endpoint_names(&self, at: IpAddr, zone: &Name) -> Result<Vec<Name>, Miss> {
        let mut names = Vec::new();
        for view in self.index.with_address(at) {
            if view.state.endpoints.is_partial() {
                return Err(Miss::Unknown);
            }
            for (endpoint, _) in view.state.endpoints.all() {
                if endpoint.address != at {
                    continue;
                }
                let label = endpoint_label(endpoint);
                let name = name_below(&[&*label, view.name, view.namespace, "svc"], zone);
                names.extend(name.filter(|name| !names.contains(name)));
            }
        }
        Ok(names)
    }
}

/// Whether the address is one of the Service itself.
fn is_own(view: &ServiceView<'_>, address: IpAddr) -> bool {
    let service = view.state.service.as_deref();
    match service.map(|service| &service.kind) {
        Some(ServiceKind::ClusterIp(addresses)) => addresses.contains(&address),
        _ => false,
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
