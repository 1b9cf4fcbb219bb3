//! The problems that an operator should know, each in a sentence.

use std::collections::HashMap;

use super::{Snapshot, Sources, policy};
use crate::datapath::snapshot::ProgramState;
use crate::mirror;
use crate::watch::Problem;

/// Services that are examined under one lock of the index.
const SERVICES_AT_ONCE: usize = 64;

/// The most problems between objects that are shown.
const OBJECT_PROBLEMS_MAX: usize = 100;

/// The most problems of one namespace that are shown.
const NAMESPACE_PROBLEMS_MAX: usize = 20;

impl mirror::Snapshot {
    /// The problem of an agent that serves no address: no packet is a query to it.
    fn unanswered(&self) -> Option<String> {
        let service = self.without_address.as_ref()?;
        (self.synced() && self.served.is_empty()).then(|| {
            format!(
                "no question is answered: the Service {service} does not exist or has no \
                 address. --cluster-dns-service names the Service of the cluster's DNS"
            )
        })
    }
}

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
        problems.extend(vitals.mirror.unanswered());
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
        if self.writes.yielding_namespaces > 0 {
            problems.push(format!(
                "{} namespaces hold the most of a map that is nearly full: userspace answers for \
                 their largest Services: {}",
                self.writes.yielding_namespaces,
                self.writes.yielding.join(", ")
            ));
        }
        if self.writes.pending > 0 {
            problems.push(format!(
                "{} names could not be written: negative answers are withheld",
                self.writes.pending
            ));
        }
        problems.extend(self.standing.problems());
        problems.extend(self.interface_problems());
        problems.extend(policy::problems(&self.policy, &self.datapath.untold));
        problems
    }

    fn interface_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for interface in self.datapath.attachments.values() {
            let name = &interface.name;
            for (program, state) in [("XDP", &interface.xdp), ("tc", &interface.tc)] {
                problems.push(match state {
                    ProgramState::Attached
                    | ProgramState::Observing
                    | ProgramState::Off
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
    /// Problems that only several objects together show: the first ones, and the number of the
    /// others. Reads the index in steps, so that the loop waits for one step at most.
    pub fn object_problems(&self) -> Vec<String> {
        let mirror = &self.signs.mirror;
        let mut shown = Shown::default();
        let mut next = 0;
        loop {
            let index = mirror.index();
            let end = index.services_end();
            if next >= end {
                break;
            }
            let after = (next + SERVICES_AT_ONCE).min(end);
            let problems = index.problems_of(next..after);
            drop(index);
            for problem in problems {
                shown.add(problem);
            }
            next = after;
        }
        shown.lines()
    }
}

/// Problems between objects, as far as they are shown.
#[derive(Default)]
struct Shown {
    problems: Vec<Problem>,
    by_namespace: HashMap<String, usize>,
    others: u64,
}

impl Shown {
    fn add(&mut self, problem: Problem) {
        // `Service NAMESPACE/NAME`
        let namespace = problem.object.split(['/', ' ']).nth(1).unwrap_or_default();
        if self.problems.len() >= OBJECT_PROBLEMS_MAX {
            self.others += 1;
            return;
        }
        let count = self.by_namespace.entry(namespace.to_owned()).or_default();
        if *count >= NAMESPACE_PROBLEMS_MAX {
            self.others += 1;
            return;
        }
        *count += 1;
        self.problems.push(problem);
    }

    fn lines(mut self) -> Vec<String> {
        self.problems.sort_by(|a, b| a.object.cmp(&b.object));
        let mut lines: Vec<_> = self.problems.iter().map(ToString::to_string).collect();
        if self.others > 0 {
            lines.push(format!("{} more problems of objects", self.others));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Reason;

    #[test]
    fn a_namespace_with_many_problems_leaves_room_for_the_others() {
        let mut shown = Shown::default();
        let problem = |namespace: &str, i: usize| Problem {
            object: format!("EndpointSlice {namespace}/{i}"),
            field: String::new(),
            reason: Reason::MissingService("a/b".into()),
        };
        for i in 0..20_000 {
            shown.add(problem("evil", i));
        }
        shown.add(problem("good", 0));
        let lines = shown.lines();
        assert_eq!(lines.len(), NAMESPACE_PROBLEMS_MAX + 2);
        let good = "EndpointSlice good/0: Service a/b does not exist";
        assert!(lines.contains(&good.to_owned()), "{lines:?}");
        let last = lines.last().map(String::as_str);
        assert_eq!(last, Some("19980 more problems of objects"));
    }
}
