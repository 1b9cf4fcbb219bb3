//! A, AAAA and CNAME records, and chains of CNAMEs (CoreDNS, `A`, `AAAA` and `CNAME` in
//! `plugin/backend_lookup.go`).

use std::collections::HashSet;

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::candidates::{Host, Miss};
use super::name::AskedName;
use super::{Chase, Resolver, Sections};
use crate::watch::ENTRIES_MAX;

/// Most CNAMEs in a chain (CoreDNS, `maxCnameChainLength`).
const CHAIN_MAX: usize = 10;

/// Most CNAMEs that one question follows. CoreDNS has no such limit. But where slices
/// hold domain names of Services with such slices, each link of a chain multiplies the
/// number of CNAMEs.
const FOLLOWED_MAX: usize = 256;

/// Most candidates that one question looks at. The names to which CNAMEs lead may have as many
/// as one Service can have endpoints.
const CANDIDATES_MAX: usize = 4 * ENTRIES_MAX;

/// The CNAMEs that one question has followed.
#[derive(Default)]
struct Trail {
    /// Targets of the CNAMEs that lead to the present name.
    targets: Vec<Name>,
    /// Number of CNAMEs followed so far, dead ends included.
    followed: usize,
    /// Number of candidates so far.
    candidates: usize,
}

/// A domain name from its text. `None` where the text is no domain name.
fn domain_name(text: &str) -> Option<Name> {
    Name::from_labels(text.split('.').map(str::as_bytes)).ok()
}

impl Resolver<'_> {
    /// Records of type `kind`, A or AAAA, each once, and the CNAMEs that lead to them.
    pub(super) fn addresses(
        &self,
        asked: &AskedName<'_>,
        kind: RecordType,
    ) -> Result<Sections, Miss> {
        self.chain(asked, kind, &mut Trail::default())
    }

    /// The addresses of a name to which the trail has led.
    fn chain(
        &self,
        asked: &AskedName<'_>,
        kind: RecordType,
        trail: &mut Trail,
    ) -> Result<Sections, Miss> {
        let mut found = Sections::default();
        let mut seen = HashSet::new();
        let candidates = self.services(asked, kind)?;
        trail.candidates += candidates.len();
        if trail.candidates > CANDIDATES_MAX {
            return Err(Miss::Unknown);
        }
        for candidate in &candidates {
            match &candidate.host {
                Host::Address(at) => {
                    if candidate.host.record_type() == kind && seen.insert(*at) {
                        let record = self.address_record(asked.name.clone(), *at);
                        found.answers.push(record);
                    }
                }
                Host::Name(text) => {
                    let Some(target) = domain_name(text) else {
                        continue;
                    };
                    // CoreDNS follows the CNAME once for each port.
                    for _ in 0..candidate.ports.count {
                        let next = self.follow(asked, kind, target.clone(), trail)?;
                        found.answers.extend(next.answers);
                        found.chases.extend(next.chases);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The CNAME from `asked` to `target`, and the records of `target`. No records where
    /// `target` has none.
    fn follow(
        &self,
        asked: &AskedName<'_>,
        kind: RecordType,
        target: Name,
        trail: &mut Trail,
    ) -> Result<Sections, Miss> {
        // As CoreDNS does: leave out a CNAME to the name itself or below it, the rest of
        // a chain that is too long, and a target that was on the trail before.
        if asked.name.zone_of(&target)
            || trail.targets.len() > CHAIN_MAX
            || trail.targets.iter().any(|earlier| earlier.eq_case(&target))
        {
            return Ok(Sections::default());
        }
        trail.followed += 1;
        if trail.followed > FOLLOWED_MAX {
            return Err(Miss::Unknown);
        }
        let mut answers = vec![self.cname_record(asked, target.clone())];
        if !self.zone.asked.zone_of(&target) {
            let chase = Chase {
                target,
                qtype: kind.into(),
            };
            return Ok(Sections {
                answers,
                chases: vec![chase],
                ..Sections::default()
            });
        }
        trail.targets.push(target.clone());
        let next = self.chain(&AskedName::new(&target, self.zone), kind, trail);
        trail.targets.pop();
        match next {
            Ok(next) if !next.answers.is_empty() => {
                answers.extend(next.answers);
                Ok(Sections {
                    answers,
                    chases: next.chases,
                    ..Sections::default()
                })
            }
            Ok(_) | Err(Miss::Missing) => Ok(Sections::default()),
            Err(Miss::Unknown) => Err(Miss::Unknown),
        }
    }

    fn cname_record(&self, asked: &AskedName<'_>, target: Name) -> Record {
        let rdata = RData::CNAME(CNAME(target));
        Record::from_rdata(asked.name.clone(), self.ttl(), rdata)
    }

    /// The CNAME record of a name. CoreDNS takes the first candidate, and chance decides
    /// which slice comes first. So the answer is only known where all candidates agree.
    pub(super) fn alias(&self, asked: &AskedName<'_>) -> Result<Sections, Miss> {
        let candidates = self.services(asked, RecordType::CNAME)?;
        let mut targets = candidates.iter().map(|candidate| match &candidate.host {
            Host::Name(text) => Some(*text),
            Host::Address(_) => None,
        });
        let first = targets.next().flatten();
        if !targets.all(|target| target == first) {
            return Err(Miss::Unknown);
        }
        let target = first.and_then(domain_name);
        let records = target.map(|target| self.cname_record(asked, target));
        Ok(records.into_iter().collect::<Vec<_>>().into())
    }
}
