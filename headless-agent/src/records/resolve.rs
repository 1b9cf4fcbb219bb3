//! From a question to the records that answer it: the whole contract, in plain
//! code.
//!
//! This is what the responder in userspace answers from, and what the engine in
//! the kernel is compared with. So it is written to be read beside CoreDNS's
//! `plugin/kubernetes/handler.go` and `plugin/backend_lookup.go` (v1.14.7), in
//! their order. Where CoreDNS is at odds with an RFC the comment says *trap* and
//! a number; each is in one place.

mod lookup;
mod name;
mod rrset;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use self::lookup::{Candidate, Host, Miss};
use self::name::{Asked, Zone};
use super::Index;
use super::types::EndpointScope;

/// TTL of the `dns-version` record in seconds (CoreDNS, `Services`).
const VERSION_TTL: u32 = 28_800;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in the case in which it was asked.
    pub name: Name,
    /// The type (IANA "DNS Resource Record TYPEs").
    pub qtype: u16,
    /// The class. It decides nothing: with the `forward` plugin loaded, CoreDNS
    /// answers every class with records of class IN.
    pub qclass: u16,
}

/// What becomes of a question.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// It is answered.
    Answer(Answer),
    /// It is somebody else's to answer.
    Forward(Forward),
}

/// Who is to answer instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The upstream resolvers: the name is in none of the cluster's zones, or is
    /// a reverse name of nobody in the cluster.
    Upstream,
    /// The cluster's own DNS: the name is the cluster's, and what is below it is
    /// not watched ([`EndpointScope::Headless`]), or the answer would be that there
    /// is nothing and the index is not current ([`Index::is_current`]).
    ClusterDns,
}

/// An answer from the index.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The RCODE.
    pub rcode: ResponseCode,
    /// The AA bit.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section, without OPT.
    pub additionals: Vec<Record>,
    /// Where set, the answer is not complete: the last CNAME leads out of the
    /// zone.
    pub chase: Option<Chase>,
}

/// The end of a chain of CNAMEs that only upstream resolvers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chase {
    /// The name to look up.
    pub target: Name,
    /// With this type.
    pub qtype: u16,
}

/// Answers a question from the index.
pub fn resolve(index: &Index, question: &Question) -> Resolution {
    let Some(zone) = Zone::of(&question.name, &index.settings().zone) else {
        return Resolution::Forward(Forward::Upstream);
    };
    let resolver = Resolver { index, zone: &zone };
    resolver.serve(&resolver.asked(&question.name), question.qtype)
}

/// The records of one reply before its rcode is decided.
#[derive(Default)]
struct Found {
    answers: Vec<Record>,
    additionals: Vec<Record>,
    chase: Option<Chase>,
}

impl From<Vec<Record>> for Found {
    fn from(answers: Vec<Record>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }
}

/// One question's view of the index.
#[derive(Clone, Copy)]
struct Resolver<'a> {
    index: &'a Index,
    zone: &'a Zone,
}

impl<'a> Resolver<'a> {
    fn asked(&self, name: &'a Name) -> Asked<'a> {
        Asked::new(name, self.zone)
    }

    fn ttl(&self) -> u32 {
        self.index.settings().ttl
    }

    /// The address record of a name.
    fn address_record(&self, name: Name, address: IpAddr) -> Record {
        let rdata = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        Record::from_rdata(name, self.ttl(), rdata)
    }

    /// CoreDNS, `ServeDNS`.
    fn serve(&self, asked: &Asked<'_>, qtype: u16) -> Resolution {
        let found = match RecordType::from(qtype) {
            kind @ (RecordType::A | RecordType::AAAA) => self.addresses(asked, kind),
            RecordType::TXT => self.text(asked),
            RecordType::CNAME => self.alias(asked),
            RecordType::PTR => self.pointers(asked),
            // No Service has a mail host, so only existence is left to tell.
            RecordType::MX => self
                .services(asked, RecordType::MX)
                .map(|_| Found::default()),
            RecordType::SRV => self.servers(asked),
            // Trap T3: away from the apex nobody looks whether the name exists.
            RecordType::SOA if asked.labels.is_empty() => Ok(vec![self.soa()].into()),
            RecordType::SOA => Ok(Found::default()),
            RecordType::AXFR | RecordType::IXFR => return refused(),
            RecordType::NS if asked.is_lower_case_apex() => Ok(self.name_servers()),
            // Trap T3 again: the apex in mixed case is taken for another name.
            // An address lookup tells NODATA from NXDOMAIN.
            _ => self
                .addresses(asked, RecordType::A)
                .map(|_| Found::default()),
        };
        let denies = match &found {
            Ok(found) => found.answers.is_empty(),
            Err(miss) => *miss == Miss::Missing,
        };
        if denies && !self.index.is_current() {
            return Resolution::Forward(Forward::ClusterDns);
        }
        match found {
            Ok(found) => Resolution::Answer(self.answer(found)),
            Err(Miss::Unknown) => Resolution::Forward(Forward::ClusterDns),
            Err(Miss::Missing) => self.name_error(),
        }
    }

    /// Trap T5: a name that exists without records of the type is NOERROR with a
    /// SOA, never NXDOMAIN.
    fn answer(&self, found: Found) -> Answer {
        let Found {
            answers,
            additionals,
            chase,
        } = found;
        if answers.is_empty() {
            return self.negative(ResponseCode::NoError);
        }
        Answer {
            rcode: ResponseCode::NoError,
            authoritative: true,
            answers,
            authorities: Vec::new(),
            additionals,
            chase,
        }
    }

    /// Trap T6 lies here: whatever is not in the zone's grammar is NXDOMAIN, so
    /// that resolvers go on with their search list. Trap T7: a reverse name that
    /// is nobody's falls through, as kubeadm's Corefile has it.
    fn name_error(&self) -> Resolution {
        if self.zone.reverse {
            return Resolution::Forward(match self.index.settings().endpoints {
                EndpointScope::All => Forward::Upstream,
                EndpointScope::Headless => Forward::ClusterDns,
            });
        }
        let synced = self.index.synced();
        Resolution::Answer(self.negative(if synced {
            ResponseCode::NXDomain
        } else {
            ResponseCode::ServFail
        }))
    }

    fn negative(&self, rcode: ResponseCode) -> Answer {
        Answer {
            rcode,
            authoritative: true,
            answers: Vec::new(),
            authorities: vec![self.soa()],
            additionals: Vec::new(),
            chase: None,
        }
    }

    /// CoreDNS, `SOA`. Trap T8: owner and names end in the zone as it was asked.
    fn soa(&self) -> Record {
        let ttl = self.ttl();
        let zone = &self.zone.asked;
        let below = |labels: &[&str]| self.zone.below(labels).unwrap_or_else(|| zone.clone());
        let soa = SOA::new(
            below(&["ns", "dns"]),
            below(&["hostmaster"]),
            self.index.serial(),
            7200,
            1800,
            86_400,
            ttl,
        );
        Record::from_rdata(zone.clone(), ttl.min(300), RData::SOA(soa))
    }

    /// CoreDNS, `Services` for everything but TXT and NS.
    fn services(&self, asked: &Asked<'_>, kind: RecordType) -> Result<Vec<Candidate>, Miss> {
        if asked.is_default_name_server() {
            // Only an address question is answered; any other finds that the
            // name exists.
            let servers = self.name_server_candidates();
            return Ok(servers
                .into_iter()
                .filter(|server| server.host.record_type() == kind)
                .collect());
        }
        let mut candidates = lookup::candidates(self.index, self.zone, &asked.labels)?;
        if kind == RecordType::SRV {
            candidates.retain(|candidate| matches!(candidate.host, Host::Address(_)));
        }
        Ok(candidates)
    }

    /// CoreDNS, `TXT` and the part of `Services` for it. Trap T2: a name that
    /// has only names below it is NXDOMAIN for TXT.
    fn text(&self, asked: &Asked<'_>) -> Result<Found, Miss> {
        if asked.labels == ["dns-version"] {
            let version = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
            let record = Record::from_rdata(asked.name.clone(), VERSION_TTL, version);
            return Ok(vec![record].into());
        }
        let candidates = lookup::candidates(self.index, self.zone, &asked.labels)?;
        if candidates.is_empty() {
            return Err(Miss::Missing);
        }
        Ok(Found::default())
    }

    /// CoreDNS, `nsAddrs`: the Service in front of the cluster's DNS, or else
    /// `ns.dns.<zone>` with addresses of its own.
    fn name_server_candidates(&self) -> Vec<Candidate> {
        let settings = self.index.settings();
        let (namespace, name) = &settings.dns_service;
        let service = self.index.service(namespace, name);
        let found = service.map_or_else(Vec::new, |view| lookup::name_servers(&view));
        if !found.is_empty() {
            return found;
        }
        let own = |address: &IpAddr| Candidate {
            owner: ["ns", "dns"].map(str::to_owned).to_vec(),
            host: Host::Address(*address),
            port: None,
        };
        settings.dns_addresses.iter().map(own).collect()
    }

    /// CoreDNS, `NS`.
    fn name_servers(&self) -> Found {
        let mut found = Found::default();
        let mut seen = Vec::new();
        for candidate in self.name_server_candidates() {
            let (Host::Address(address), Some(owner)) =
                (&candidate.host, self.zone.below(&candidate.owner))
            else {
                continue;
            };
            found
                .additionals
                .push(self.address_record(owner.clone(), *address));
            if !seen.contains(&owner) {
                let rdata = RData::NS(NS(owner.clone()));
                let record = Record::from_rdata(self.zone.asked.clone(), self.ttl(), rdata);
                found.answers.push(record);
                seen.push(owner);
            }
        }
        found
    }
}

impl Answer {
    /// What becomes of an answer with [`Self::chase`] when upstream resolvers
    /// have answered: with their answer section, or `None` where they could not
    /// be asked, which CoreDNS makes NODATA of (`A` in `backend_lookup.go`).
    /// `name` is the one that the client asked for.
    #[must_use]
    pub fn chased(mut self, index: &Index, name: &Name, found: Option<Vec<Record>>) -> Self {
        self.chase = None;
        match (found, Zone::of(name, &index.settings().zone)) {
            (None, Some(zone)) => {
                let resolver = Resolver { index, zone: &zone };
                resolver.negative(ResponseCode::NoError)
            }
            (found, _) => {
                self.answers.extend(found.into_iter().flatten());
                self
            }
        }
    }
}

/// What CoreDNS says to a zone transfer without its `transfer` plugin.
fn refused() -> Resolution {
    Resolution::Answer(Answer {
        rcode: ResponseCode::Refused,
        authoritative: false,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        chase: None,
    })
}
