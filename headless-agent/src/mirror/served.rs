//! The addresses whose port 53 the programs answer.

use std::net::IpAddr;

use headless_ebpf::abi::{SERVERS_MAX, ServerAddress};
use tracing::{error, info, warn};

use super::{Keeper, Mirror, Policy};
use crate::maps::{RecordSink, SinkError};

/// What should be served, the first addresses first: as many as the map takes, and
/// the rest.
fn wanted(mirror: &Mirror, policy: &Policy) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let dns = &policy.cluster_dns;
    let mut addresses = mirror
        .index
        .read()
        .server_addresses(&dns.namespace, &dns.name);
    for address in &policy.listen {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let rest = addresses.split_off(addresses.len().min(SERVERS_MAX as usize));
    (addresses, rest)
}

impl<S: RecordSink> Keeper<S> {
    /// Brings the map of served addresses up to date. An address that finds no place
    /// is left out, shown as a problem, and tried again with the next heartbeat.
    pub(super) fn serve(&mut self) {
        if let Err(error) = self.place() {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot write the served addresses"
            );
        }
    }

    fn place(&mut self) -> Result<(), SinkError> {
        let (wanted, mut unserved) = wanted(&self.mirror, &self.policy);
        if self.placed == wanted && self.shown.unserved == unserved {
            return Ok(());
        }
        let addresses: Vec<_> = wanted.iter().copied().map(ServerAddress::from).collect();
        let unplaced = self.writer.serve(&addresses)?;
        let (without, served) = wanted
            .iter()
            .partition(|address| unplaced.contains(&ServerAddress::from(**address)));
        let without: Vec<IpAddr> = without;
        self.placed = if without.is_empty() {
            wanted
        } else {
            // Differs from what is wanted, so that the next call tries again.
            Vec::clone(&served)
        };
        unserved.splice(..0, without);
        if served != self.shown.served {
            info!(addresses = ?served, "served addresses");
        }
        if unserved != self.shown.unserved && !unserved.is_empty() {
            warn!(
                addresses = ?unserved,
                "addresses left to the cluster's DNS, since the map of served addresses has no \
                 room for them"
            );
        }
        self.shown.served = served;
        self.shown.unserved = unserved;
        Ok(())
    }
}
