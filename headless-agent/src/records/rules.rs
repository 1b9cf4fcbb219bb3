//! The rules by which a question is answered from the index.
//!
//! The agent's responder answers by these rules, and tests compare the kernel's engine
//! with them. The code keeps the order of CoreDNS 1.14.7, `plugin/kubernetes/handler.go`
//! and `plugin/backend_lookup.go`, so that both can be read side by side.
//!
//! CoreDNS differs in places from an RFC or from what a reader expects. Such a place is
//! a *trap*. Each trap has a number, which comments and tests name. T12 to T15 do not exist:
//!
//! | Trap | Behaviour |
//! | --- | --- |
//! | T1 | A headless Service without a ready endpoint does not exist |
//! | T2 | TXT of a name that only has names below it is NXDOMAIN, not NODATA |
//! | T3 | SOA is NODATA for every name but the apex. `_tcp.<service>` does not exist, although names below it do. The apex in mixed case has no NS records |
//! | T4 | A name with port and protocol has the Service's addresses, too |
//! | T5 | A name that exists without the asked type is NODATA, never NXDOMAIN |
//! | T6 | Every other name in the zone is NXDOMAIN, so resolvers go on with their search list |
//! | T7 | A reverse name without a Service goes to the upstream resolvers (`fallthrough` in kubeadm's Corefile) |
//! | T8 | Names in a reply end with the zone as it was asked, in that case |
//! | T9 | The weight of SRV records counts endpoints that are repeated and ports without a number |
//! | T10 | An endpoint with a hostname has no name that is made of its address |
//! | T11 | An address in two slices of a Service is one record |
//! | T16 | A Service's name may look like an address: `1-2-3-4` |

mod addresses;
mod apex;
mod candidates;
mod name;
mod ptr;
mod srv;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use self::candidates::{Candidate, Host, Miss};
use self::name::{AskedName, Zone};
use super::Index;
use super::types::EndpointScope;

/// More records of one section than a message holds: its 65,535 bytes have no room for 4096
/// records of at least 16 bytes. So a reply that ends here gets TC.
const RECORDS_MAX: usize = 4096;

/// A question of a DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in the case in which the client asked.
    pub name: Name,
    /// The type (IANA "DNS Resource Record TYPEs").
    pub qtype: u16,
    /// The class. No answer depends on it: CoreDNS answers every class that it does not refuse
    /// with records of class IN ([`super::Settings::any_class`]).
    pub qclass: u16,
}

/// The result of [`resolve`].
#[derive(Clone, Debug)]
pub enum Resolution {
    /// The index answers the question.
    Answer(Answer),
    /// Another server has to answer the question.
    Forward(Forward),
}

/// The server that has to answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The upstream resolvers. The name is outside of the cluster's zones, or it is a
    /// reverse name of an address that no Service has.
    Upstream,
    /// The cluster's own DNS. The name is in the cluster's zones, but either the agent
    /// does not watch the endpoints below it ([`EndpointScope::Headless`]), or the
    /// answer would be a denial and the index is not current ([`Index::is_current`]).
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
    /// The look-ups that complete the answer: one for each CNAME that leads out of the zone.
    pub chases: Vec<Chase>,
}

/// The end of a chain of CNAMEs that only upstream resolvers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chase {
    /// The name to look up.
    pub target: Name,
    /// The type to look up.
    pub qtype: u16,
}

/// Answers a question from the index.
pub fn resolve(index: &Index, question: &Question) -> Resolution {
    let Some(zone) = Zone::of(&question.name, &index.settings().zone) else {
        return Resolution::Forward(Forward::Upstream);
    };
    let resolver = Resolver { index, zone: &zone };
    let asked = AskedName::new(&question.name, &zone);
    resolver.serve(&asked, question.qtype)
}

/// The records of one reply before its RCODE is decided.
#[derive(Default)]
struct Sections {
    answers: Vec<Record>,
    additionals: Vec<Record>,
    chases: Vec<Chase>,
}

impl From<Vec<Record>> for Sections {
    fn from(answers: Vec<Record>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }
}

/// The index as one question sees it.
#[derive(Clone, Copy)]
struct Resolver<'a> {
    index: &'a Index,
    zone: &'a Zone,
}

impl Resolver<'_> {
    fn ttl(&self) -> u32 {
        self.index.settings().ttls.records
    }

    /// The A or AAAA record of a name.
    fn address_record(&self, name: Name, address: IpAddr) -> Record {
        let rdata = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        Record::from_rdata(name, self.ttl(), rdata)
    }

    /// Chooses the rule by the question's type (CoreDNS, `ServeDNS` in
    /// `plugin/kubernetes/handler.go`).
    fn serve(&self, asked: &AskedName<'_>, qtype: u16) -> Resolution {
        let found = match RecordType::from(qtype) {
            kind @ (RecordType::A | RecordType::AAAA) => self.addresses(asked, kind),
            RecordType::TXT => self.text(asked),
            RecordType::CNAME => self.alias(asked),
            RecordType::PTR => self.ptr(asked),
            // No Service has a mail host. The reply only tells NODATA from NXDOMAIN.
            RecordType::MX => self
                .services(asked, RecordType::MX)
                .map(|_| Sections::default()),
            RecordType::SRV => self.srv(asked),
            // Trap T3: CoreDNS does not look whether any other name exists.
            RecordType::SOA if asked.labels.is_empty() => {
                let ttl = self.index.settings().ttls.authority;
                Ok(vec![self.soa(ttl)].into())
            }
            RecordType::SOA => Ok(Sections::default()),
            RecordType::AXFR | RecordType::IXFR => return refused(),
            RecordType::NS if asked.is_lower_case_apex() => self.name_servers(),
            _ if asked.is_default_name_server() => Ok(Sections::default()),
            // Trap T3: NS of the apex in mixed case comes here, too. As in CoreDNS, a
            // look-up of addresses tells NODATA from NXDOMAIN.
            _ => self
                .addresses(asked, RecordType::A)
                .map(|_| Sections::default()),
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

    /// Trap T5: without records of the type, the reply is NODATA, not NXDOMAIN.
    fn answer(&self, found: Sections) -> Answer {
        let Sections {
            answers,
            additionals,
            chases,
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
            chases,
        }
    }

    /// The reply for a name that does not exist: traps T6 and T7. Before the first lists
    /// are complete, CoreDNS answers SERVFAIL instead of NXDOMAIN.
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
            authorities: vec![self.soa(self.index.settings().ttls.denial)],
            additionals: Vec::new(),
            chases: Vec::new(),
        }
    }

    /// The candidates for every type but TXT and NS (CoreDNS, `Services` in
    /// `plugin/kubernetes/kubernetes.go`).
    fn services<'s>(
        &'s self,
        asked: &'s AskedName<'_>,
        kind: RecordType,
    ) -> Result<Vec<Candidate<'s>>, Miss> {
        if asked.is_default_name_server() {
            return self.name_server_candidates(kind);
        }
        let mut candidates = candidates::candidates(self.index, self.zone, &asked.labels)?;
        if kind == RecordType::SRV {
            candidates.retain(|candidate| matches!(candidate.host, Host::Address(_)));
        }
        Ok(candidates)
    }

    /// TXT (CoreDNS, `TXT` in `plugin/backend_lookup.go`): trap T2.
    fn text(&self, asked: &AskedName<'_>) -> Result<Sections, Miss> {
        if asked.labels == ["dns-version"] {
            let ttl = self.index.settings().ttls.version;
            let version = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
            let record = Record::from_rdata(asked.name.clone(), ttl, version);
            return Ok(vec![record].into());
        }
        let candidates = candidates::candidates(self.index, self.zone, &asked.labels)?;
        if candidates.is_empty() {
            return Err(Miss::Missing);
        }
        Ok(Sections::default())
    }
}

impl Answer {
    /// Completes an answer that has [`Self::chases`]. `found` has the records of the upstream
    /// resolvers' answer sections, whatever their RCODE.
    ///
    /// Without records the CNAMEs stand alone, as in CoreDNS: it asks its own server chain
    /// (`Lookup` in `plugin/pkg/upstream/upstream.go`), which writes a reply in any case. That
    /// is the reply of an upstream resolver, such as NXDOMAIN, or else SERVFAIL or REFUSED
    /// (`ServeDNS` in `core/dnsserver/server.go`).
    #[must_use]
    pub fn chased(mut self, found: Vec<Record>) -> Self {
        self.chases = Vec::new();
        self.answers.extend(found);
        self
    }
}

/// The reply of CoreDNS to a zone transfer without its `transfer` plugin.
fn refused() -> Resolution {
    Resolution::Answer(Answer {
        rcode: ResponseCode::Refused,
        authoritative: false,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        chases: Vec::new(),
    })
}
