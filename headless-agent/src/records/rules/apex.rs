//! The records of the zone's apex: SOA and NS (CoreDNS, `plugin/kubernetes/ns.go` and
//! `SOA` and `NS` in `plugin/backend_lookup.go`).

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{RData, Record};

use super::candidates::{self, Candidate, Host, Target};
use super::{Resolver, Sections};
use crate::watch::ServiceRef;

impl Resolver<'_> {
    /// The SOA record. Trap T8: its names end with the zone as it was asked.
    pub(super) fn soa(&self) -> Record {
        let ttl = self.ttl();
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
            ttl,
        );
        Record::from_rdata(zone.clone(), ttl.min(300), RData::SOA(soa))
    }

    /// The NS records, with the addresses of the name servers.
    pub(super) fn name_servers(&self) -> Sections {
        let mut found = Sections::default();
        let mut seen = HashSet::new();
        for candidate in self.name_server_candidates() {
            let (Host::Address(address), Some(server)) =
                (&candidate.host, self.zone.below(candidate.target.labels()))
            else {
                continue;
            };
            found
                .additionals
                .push(self.address_record(server.clone(), *address));
            if seen.insert(server.clone()) {
                let rdata = RData::NS(NS(server));
                let record = Record::from_rdata(self.zone.asked.clone(), self.ttl(), rdata);
                found.answers.push(record);
            }
        }
        found
    }

    /// The zone's name servers: the Service of the cluster's DNS, or, where that does
    /// not exist, `ns.dns.<zone>` with the addresses of the settings (CoreDNS,
    /// `nsAddrs`).
    pub(super) fn name_server_candidates(&self) -> Vec<Candidate<'_>> {
        let settings = self.index.settings();
        let ServiceRef { namespace, name } = &settings.dns_service;
        let service = self.index.service(namespace, name);
        let found = service.map_or_else(Vec::new, |view| candidates::of_name_server(&view));
        if !found.is_empty() {
            return found;
        }
        let own = |address: &IpAddr| Candidate {
            target: Target {
                endpoint: None,
                parent: ["ns", "dns", ""],
            },
            host: Host::Address(*address),
            ports: Rc::default(),
        };
        settings.dns_addresses.iter().map(own).collect()
    }
}
