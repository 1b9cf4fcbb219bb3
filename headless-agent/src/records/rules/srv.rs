//! SRV records (CoreDNS, `SRV` in `plugin/backend_lookup.go`).

use std::collections::HashSet;

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{RData, Record, RecordType};

use super::candidates::{Host, Miss};
use super::name::AskedName;
use super::{Resolver, Sections};

impl Resolver<'_> {
    /// SRV records, each once, with the addresses of their targets.
    pub(super) fn srv(&self, asked: &AskedName<'_>) -> Result<Sections, Miss> {
        let candidates = self.services(asked, RecordType::SRV)?;
        // Trap T9: CoreDNS counts before it leaves out repetitions and ports without a
        // number.
        let weight = weight(candidates.len());
        let mut found = Sections::default();
        let (mut targets, mut glue) = (HashSet::new(), HashSet::new());
        for candidate in candidates {
            let Host::Address(at) = candidate.host else {
                continue;
            };
            let (Some(port), Some(target)) = (candidate.port, self.zone.below(&candidate.target))
            else {
                continue;
            };
            if targets.insert((target.clone(), port)) {
                let rdata = RData::SRV(SRV::new(0, weight, port, target.clone()));
                let record = Record::from_rdata(asked.name.clone(), self.ttl(), rdata);
                found.answers.push(record);
            }
            if glue.insert((target.clone(), at)) {
                found.additionals.push(self.address_record(target, at));
            }
        }
        Ok(found)
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
