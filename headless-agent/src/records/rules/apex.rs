//! The records of the zone's apex: SOA and NS (CoreDNS, `plugin/kubernetes/ns.go` and
//! `SOA` and `NS` in `plugin/backend_lookup.go`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{RData, Record, RecordType};

use super::candidates::{self, Candidate, Host, Miss, Target};
use super::ptr::VISITED_MAX;
use super::{RECORDS_MAX, Resolver, Sections};
use crate::records::types::EndpointScope;
use crate::watch::{EndpointSlice, ServiceKind, ServiceRef};

impl Resolver<'_> {
    /// The SOA record with this TTL. Trap T8: its names end with the zone as it was asked.
    pub(super) fn soa(&self, ttl: u32) -> Record {
        let zone = &self.zone.asked;
        let below = |labels: &[&'static str]| {
            let name = self.zone.below(labels.iter().copied());
            name.unwrap_or_else(|| zone.clone())
        };
        let soa = SOA::new(
            below(&["ns", "dns"]),
            below(&["hostmaster"]),
            self.index.serial(),
            7200,
            1800,
            86_400,
            self.index.settings().ttls.minimum,
        );
        Record::from_rdata(zone.clone(), ttl, RData::SOA(soa))
    }

    /// The NS records, with the addresses of the name servers.
    pub(super) fn name_servers(&self) -> Result<Sections, Miss> {
        let mut found = Sections::default();
        let mut seen = HashSet::new();
        for (target, address) in self.servers()? {
            let Some(server) = self.zone.below(target.labels()) else {
                continue;
            };
            found
                .additionals
                .push(self.address_record(server.clone(), address));
            if seen.insert(server.clone()) {
                let rdata = RData::NS(NS(server));
                let record = Record::from_rdata(self.zone.asked.clone(), self.ttl(), rdata);
                found.answers.push(record);
            }
        }
        Ok(found)
    }

    /// The candidates for A and AAAA records of `ns.dns.<zone>`: the addresses of the name
    /// servers. The name exists with every type.
    pub(super) fn name_server_candidates(
        &self,
        kind: RecordType,
    ) -> Result<Vec<Candidate<'_>>, Miss> {
        if !matches!(kind, RecordType::A | RecordType::AAAA) {
            return Ok(Vec::new());
        }
        let candidates = self.servers()?.into_iter().map(|(target, address)| {
            let host = Host::Address(address);
            Candidate {
                target,
                host,
                ports: Rc::default(),
            }
        });
        Ok(candidates
            .filter(|candidate| candidate.host.record_type() == kind)
            .collect())
    }

    /// The zone's name servers with their addresses: every Service that has a server of the
    /// cluster's DNS as an endpoint (CoreDNS, `nsAddrs`).
    ///
    /// Each CoreDNS looks up its own addresses. The index knows the addresses of all of them,
    /// but not which two belong to one server. So the answer is known if all addresses of a
    /// family lead to the same Services. [`Miss::Unknown`] where they do not, where the
    /// endpoints of some Services are unknown, where the look-up is beyond the bounds of
    /// [`Effort`], and where a server of the cluster's DNS has no endpoint that is selected: such a
    /// server names itself.
    fn servers(&self) -> Result<Vec<Server<'_>>, Miss> {
        let settings = self.index.settings();
        let ServiceRef { namespace, name } = &settings.dns_service;
        let own = self.index.service(namespace, name).ok_or(Miss::Unknown)?;
        let own = &own.state.endpoints;
        let unknown = settings.endpoints == EndpointScope::Headless
            || self.index.hides_holders()
            || self.index.has_unselected_servers()
            || own.is_partial();
        if unknown {
            return Err(Miss::Unknown);
        }
        let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) = own.addresses().partition(IpAddr::is_ipv4);
        // A server without an address of one family would name fewer Services.
        let mixed = !ipv4.is_empty() && !ipv6.is_empty() && ipv4.len() != ipv6.len();
        if mixed || ipv4.len() + ipv6.len() == 0 {
            return Err(Miss::Unknown);
        }
        let mut effort = Effort::default();
        let mut servers = Vec::new();
        for family in [ipv4, ipv6] {
            let mut of_each = family.into_iter();
            let Some(first) = of_each.next() else {
                continue;
            };
            let of_first = self.servers_over(first, &mut effort)?;
            for other in of_each {
                if self.servers_over(other, &mut effort)? != of_first {
                    return Err(Miss::Unknown);
                }
            }
            servers.extend(of_first);
        }
        Ok(servers)
    }

    /// The Services of every slice that has this address, sorted. A Service comes once for each
    /// such slice.
    fn servers_over(&self, at: IpAddr, effort: &mut Effort) -> Result<Vec<Server<'_>>, Miss> {
        let mut servers = Vec::new();
        for view in self.index.holders(at) {
            let endpoints = &view.state.endpoints;
            effort.visit(endpoints.len())?;
            let Some(service) = view.state.service.as_deref() else {
                continue;
            };
            if service.partial || endpoints.is_partial() {
                return Err(Miss::Unknown);
            }
            let target = |endpoint| candidates::target(&view, endpoint);
            let holds = |slice: &&EndpointSlice| slice.endpoints.iter().any(|of| of.address == at);
            for slice in endpoints.slices().filter(holds) {
                match &service.kind {
                    ServiceKind::ClusterIp(addresses) if !addresses.is_empty() => {
                        effort.add(addresses.len())?;
                        servers.extend(addresses.iter().map(|at| (target(None), *at)));
                    }
                    ServiceKind::Headless if slice.aliases.is_empty() => {
                        effort.add(slice.endpoints.len())?;
                        let endpoints = slice.endpoints.iter();
                        servers.extend(endpoints.map(|of| (target(Some(of)), of.address)));
                    }
                    // CoreDNS fails, or sends a record without an address.
                    _ => return Err(Miss::Unknown),
                }
            }
        }
        servers.sort_unstable();
        Ok(servers)
    }
}

/// A name server and one of its addresses.
type Server<'a> = (Target<'a>, IpAddr);

/// The work of one look-up of the zone's name servers. A tenant decides how many endpoints are
/// beside an address of the cluster's DNS, and the index is locked meanwhile.
#[derive(Default)]
struct Effort {
    /// Endpoints looked at.
    visited: usize,
    /// Name servers found, again for each address of the cluster's DNS.
    servers: usize,
}

impl Effort {
    /// Counts endpoints to look at. [`Miss::Unknown`] beyond [`VISITED_MAX`].
    fn visit(&mut self, endpoints: usize) -> Result<(), Miss> {
        self.visited += endpoints;
        within(self.visited, VISITED_MAX)
    }

    /// Counts name servers before they are collected. [`Miss::Unknown`] beyond [`RECORDS_MAX`].
    fn add(&mut self, servers: usize) -> Result<(), Miss> {
        self.servers += servers;
        within(self.servers, RECORDS_MAX)
    }
}

fn within(count: usize, max: usize) -> Result<(), Miss> {
    if count > max {
        return Err(Miss::Unknown);
    }
    Ok(())
}
