//! The addresses whose port 53 the programs answer.

use std::net::IpAddr;

use headless_ebpf::abi::{Address, SERVED_MAX};
use tracing::{info, warn};

use super::snapshot::Snapshot;
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, SinkError};

/// The served addresses as they were last placed in the map.
#[derive(Debug, Default)]
pub(super) struct Served {
    placed: Vec<IpAddr>,
}

impl Served {
    /// Writes changed addresses to the map. The most important address comes first. An
    /// address that finds no slot is left out, shown as a problem, and tried again by the
    /// next call.
    ///
    /// # Errors
    /// When the kernel refuses to read or write the map.
    pub(super) fn place<S: RecordSink>(
        &mut self,
        mut addresses: Vec<IpAddr>,
        writer: &mut Writer<S>,
        shown: &mut Snapshot,
    ) -> Result<(), SinkError> {
        let beyond = addresses.split_off(addresses.len().min(SERVED_MAX as usize));
        if self.placed == addresses && shown.unserved == beyond {
            return Ok(());
        }
        let wanted: Vec<_> = addresses.iter().copied().map(Address::from).collect();
        let unplaced = writer.serve(&wanted)?;
        let (mut unserved, served): (Vec<_>, Vec<_>) = addresses
            .into_iter()
            .partition(|address| unplaced.contains(&Address::from(*address)));
        unserved.extend(beyond);
        if served != shown.served {
            info!(addresses = ?served, "the programs serve these addresses");
        }
        if unserved != shown.unserved && !unserved.is_empty() {
            warn!(
                addresses = ?unserved,
                "the map of served addresses has no slot for these addresses, left to the \
                 cluster's DNS"
            );
        }
        self.placed.clone_from(&served);
        shown.served = served;
        shown.unserved = unserved;
        Ok(())
    }
}
