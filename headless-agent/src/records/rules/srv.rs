//! SRV records (CoreDNS, `SRV` in `plugin/backend_lookup.go`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::candidates::{Candidate, Host, Miss, Selected};
use super::name::AskedName;
use super::{RECORDS_MAX, Resolver, Sections};

impl Resolver<'_> {
    /// SRV records, each once, with the addresses of their targets. They end where no message
    /// has room for more.
    pub(super) fn srv(&self, asked: &AskedName<'_>) -> Result<Sections, Miss> {
        let candidates = self.services(asked, RecordType::SRV)?;
        // Trap T9: CoreDNS counts before it leaves out repetitions and ports without a
        // number.
        let weight = weight(
            candidates
                .iter()
                .map(|candidate| candidate.ports.count)
                .sum(),
        );
        let mut found = Sections::default();
        let mut seen = Seen::default();
        for candidate in &candidates {
            let (Host::Address(at), false) = (&candidate.host, candidate.ports.numbers.is_empty())
            else {
                continue;
            };
            if found.answers.len().max(found.additionals.len()) >= RECORDS_MAX {
                break;
            }
            let Some(target) = self.zone.below(candidate.target.labels()) else {
                continue;
            };
            for port in seen.new_ports(candidate, &target) {
                let rdata = RData::SRV(SRV::new(0, weight, port, target.clone()));
                let record = Record::from_rdata(asked.name.clone(), self.ttl(), rdata);
                found.answers.push(record);
            }
            if seen.glue.insert((target.clone(), *at)) {
                found.additionals.push(self.address_record(target, *at));
            }
        }
        Ok(found)
    }
}

/// The records that a reply has so far.
#[derive(Default)]
struct Seen {
    /// Targets with the ports of an object.
    objects: HashSet<(Name, *const Selected)>,
    targets: HashSet<(Name, u16)>,
    glue: HashSet<(Name, IpAddr)>,
}

impl Seen {
    /// The ports that the target has not had yet.
    fn new_ports(&mut self, candidate: &Candidate<'_>, target: &Name) -> Vec<u16> {
        // Many endpoints of a slice may have the same label, and as many ports.
        let object = (target.clone(), Rc::as_ptr(&candidate.ports));
        if !self.objects.insert(object) {
            return Vec::new();
        }
        let numbers = candidate.ports.numbers.iter().copied();
        let new = numbers.filter(|number| self.targets.insert((target.clone(), *number)));
        new.take(RECORDS_MAX).collect()
    }
}

/// The weight of each SRV record: an equal share of 100, at least one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_equal_shares_of_a_hundred() {
        assert_eq!(
            [1, 2, 3, 6, 100, 101, 5000].map(weight),
            [100, 50, 33, 16, 1, 1, 1]
        );
        // The kernel's engine has no floating point and divides whole numbers.
        for candidates in 1..=100u16 {
            assert_eq!(weight(candidates.into()), 100 / candidates);
        }
    }
}
