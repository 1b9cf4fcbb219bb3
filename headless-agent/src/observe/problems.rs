//! The problems that an operator should know, each in a sentence.

use super::{Snapshot, Sources};
use crate::datapath::snapshot::ProgramState;

/// Services that are examined under one lock of the index.
const SERVICES_AT_ONCE: usize = 64;

impl Snapshot {
    /// The problems of the agent itself.
    pub fn problems(&self) -> Vec<String> {
        let vitals = &self.vitals;
        let unready = vitals.unready();
        let mut problems: Vec<String> = unready
            .into_iter()
            .map(|what| format!("not ready: {what}"))
            .collect();
        if vitals.mirror.synced() {
            let stale =
                |(_, why): &(_, String)| format!("the cluster may have changed since: {why}");
            problems.extend(vitals.outages.iter().map(stale));
        }
        problems.extend(vitals.mirror.unserved.iter().map(|address| {
            format!("address {address} is not answered: the map of served addresses has no room")
        }));
        for (map, usage) in &self.maps {
            if usage.entries >= usage.capacity {
                let (label, capacity) = (map.label(), usage.capacity);
                problems.push(format!("map {label} is full ({capacity} entries)"));
            }
        }
        if self.writes.crowded > 0 {
            problems.push(format!(
                "the addresses of {} names find no room: userspace answers for these names",
                self.writes.crowded
            ));
        }
        if self.writes.pending > 0 {
            problems.push(format!(
                "{} names could not be written: negative answers are withheld",
                self.writes.pending
            ));
        }
        problems.extend(self.interface_problems());
        problems
    }

    fn interface_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for interface in self.datapath.attachments.values() {
            let name = &interface.name;
            for (program, state) in [("XDP", &interface.xdp), ("tc", &interface.tc)] {
                problems.push(match state {
                    ProgramState::Attached
                    | ProgramState::Lifted
                    | ProgramState::Unused
                    | ProgramState::Uplink => continue,
                    ProgramState::Foreign => {
                        format!("interface {name} carries another {program} program")
                    }
                    ProgramState::Refused(reason) => {
                        format!("interface {name}: {program} refused: {reason}")
                    }
                    ProgramState::Failed(reason) => {
                        format!("interface {name}: {program} not attached: {reason}")
                    }
                });
            }
        }
        problems
    }
}

impl Sources {
    /// Problems that only several objects together show. Reads the index in steps, so that
    /// the loop waits for one step at most.
    pub fn object_problems(&self) -> Vec<String> {
        let mirror = &self.signs.mirror;
        let mut problems = Vec::new();
        let mut next = 0;
        loop {
            let index = mirror.index();
            let end = index.services_end();
            if next >= end {
                break;
            }
            let after = (next + SERVICES_AT_ONCE).min(end);
            problems.extend(index.problems_of(next..after));
            next = after;
        }
        problems.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        problems.iter().map(ToString::to_string).collect()
    }
}
