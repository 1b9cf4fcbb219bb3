//! The state of the agent as one value, which `status` prints and `/status.json` serves.
//! Other tools rely on the keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use headless_ebpf::abi::{PassReason, Path};
use serde::{Deserialize, Serialize};

use super::Snapshot;
use super::policy::PolicyStatus;
use super::snapshot::Map;
use super::tally::{AGENT, Tally};
use crate::datapath::snapshot::{Attachment, Program};

/// The state of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Seconds since the agent started. The counts begin then.
    pub uptime: f64,
    /// Answers by path: `xdp`, `tc`, `agent`.
    pub answers: BTreeMap<String, u64>,
    /// Packets that the programs passed, by reason. The tc program counts each packet once,
    /// because it is behind XDP on every interface. `lost` counts both programs.
    pub passes: BTreeMap<String, u64>,
    /// Answers by path, question type and outcome.
    pub answers_by_type: Vec<Answers>,
    /// Messages that the agent's engine passed, by reason.
    pub agent_passes: BTreeMap<String, u64>,
    /// Messages that the agent answered by the rules outside the engine.
    pub agent_resolved: u64,
    /// Which pods are answered.
    #[serde(default)]
    pub policy: PolicyStatus,
    /// Interfaces that could get the programs.
    pub interfaces: Vec<Attachment>,
    /// TCP connections to served addresses for which pods have asked, by the index of the pod's
    /// interface, since the interface has the tc program.
    #[serde(default)]
    pub connections: BTreeMap<u32, u64>,
    /// The maps.
    pub maps: BTreeMap<String, Map>,
    /// The programs, by path: `xdp`, `tc`.
    pub programs: BTreeMap<String, Program>,
    /// Addresses whose port 53 the programs answer.
    pub servers: Vec<IpAddr>,
    /// Seconds that the programs answer after the last heartbeat.
    pub lease: f64,
    /// Seconds since the last heartbeat.
    pub heartbeat_age: f64,
    /// Seconds that the agent may be behind the cluster: 0 while every watch runs.
    pub age: f64,
    /// Seconds since the API server last sent anything on the watch that has been
    /// silent for longest; `None` for a source without watches.
    pub silence: Option<f64>,
    /// Serial of the SOA.
    pub serial: u32,
    /// Whether the whole cluster has been read.
    pub synced: bool,
    /// Whether the programs may give negative answers.
    pub complete: bool,
    /// The parts of the questions that are left to CoreDNS because of its Corefile.
    pub left_to_coredns: Vec<String>,
    /// Problems, each in a sentence: an operator should act on them.
    pub problems: Vec<String>,
    /// Choices of the agent that limit its answers, each in a sentence. No fault, and nothing
    /// to act on.
    pub notes: Vec<String>,
    /// Problems of single objects, the latest last.
    pub reported: Vec<String>,
}

/// A number of answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// The path that gave the answers: `xdp`, `tc` or `agent`.
    pub path: String,
    /// Question type.
    pub qtype: String,
    /// The outcome of the answers.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// Packets that the programs passed, by reason. The passes of tc are enough, because tc sees
/// every packet that XDP passes. The packets that XDP lost are added, because tc does not see
/// them.
fn kernel_passes(tallies: &[(&'static str, Tally)]) -> BTreeMap<String, u64> {
    let mut passes = BTreeMap::new();
    for (path, tally) in tallies {
        for (reason, count) in &tally.passes {
            let by_tc = *path == Path::Tc.label();
            let lost_before = *path == Path::Xdp.label() && *reason == PassReason::Lost;
            if by_tc || lost_before {
                *passes.entry(reason.label().to_owned()).or_default() += count;
            }
        }
    }
    passes
}

impl Status {
    /// The state at the moment of the snapshot. `connections` are [`Self::connections`],
    /// `of_objects` problems that only several objects together show.
    pub fn new(
        snapshot: &Snapshot,
        connections: BTreeMap<u32, u64>,
        of_objects: Vec<String>,
    ) -> Self {
        let resolved = snapshot.messages.resolved;
        let mut answers = BTreeMap::new();
        let mut answers_by_type = Vec::new();
        for (path, tally) in &snapshot.tallies {
            let other = if *path == AGENT { resolved } else { 0 };
            answers.insert((*path).to_owned(), tally.answered() + other);
            answers_by_type.extend(tally.answers.iter().map(|(kind, outcome, count)| Answers {
                path: (*path).into(),
                qtype: kind.label().into(),
                outcome: outcome.label().into(),
                count: *count,
            }));
        }
        let own = snapshot.tallies.iter().filter(|(path, _)| *path == AGENT);
        let own = own.flat_map(|(_, tally)| &tally.passes);
        let agent_passes = own.map(|(reason, count)| (reason.label().into(), *count));
        let vitals = &snapshot.vitals;
        let mirror = &vitals.mirror;
        let maps = snapshot.maps.iter();
        let programs = snapshot.datapath.programs.iter();
        let standing = &snapshot.standing;
        let mut problems = snapshot.problems();
        problems.extend(of_objects);
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: snapshot.uptime.as_secs_f64(),
            answers,
            passes: kernel_passes(&snapshot.tallies),
            answers_by_type,
            agent_passes: agent_passes.collect(),
            agent_resolved: resolved,
            policy: PolicyStatus::new(&snapshot.policy, &snapshot.datapath.untold),
            interfaces: snapshot.datapath.attachments.values().cloned().collect(),
            connections,
            maps: maps
                .map(|(map, usage)| (map.label().to_owned(), *usage))
                .collect(),
            programs: programs
                .map(|(path, program)| ((*path).to_owned(), program.clone()))
                .collect(),
            servers: mirror.served.clone(),
            lease: snapshot.lease.as_secs_f64(),
            heartbeat_age: vitals.heartbeat_age.unwrap_or_default().as_secs_f64(),
            age: vitals.source_age.as_secs_f64(),
            silence: vitals.silence.map(|it| it.age.as_secs_f64()),
            serial: mirror.serial,
            synced: mirror.synced(),
            complete: snapshot.writes.complete,
            left_to_coredns: standing
                .left
                .parts
                .iter()
                .map(|it| it.label().into())
                .collect(),
            problems,
            notes: snapshot.notes(),
            reported: mirror.reported.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use headless_ebpf::abi::{COUNTERS, Counter};

    use super::*;

    #[test]
    fn every_packet_is_in_the_passes_once() {
        let mut cells = vec![0; COUNTERS as usize];
        let mut count = |path, reason, count| {
            let Counter(index) = Counter::pass(path, reason);
            cells[index as usize] = count;
        };
        for &reason in PassReason::ALL {
            let seen = 100 + reason as u64;
            count(Path::Xdp, reason, seen);
            count(Path::Tc, reason, seen);
        }
        count(Path::Xdp, PassReason::TooLarge, 7);
        count(Path::Tc, PassReason::TooLarge, 2);
        count(Path::Xdp, PassReason::Lost, 3);
        count(Path::Tc, PassReason::Lost, 4);
        let tallies = [
            (Path::Xdp.label(), Tally::of(Path::Xdp, &cells)),
            (Path::Tc.label(), Tally::of(Path::Tc, &cells)),
            (AGENT, Tally::of(Path::Xdp, &cells)),
        ];
        let passes = kernel_passes(&tallies);
        assert_eq!(passes.len(), PassReason::ALL.len());
        for reason in PassReason::ALL {
            let expected = match reason {
                // XDP left the others to tc.
                PassReason::TooLarge => 2,
                // Lost in one is not seen by the other.
                PassReason::Lost => 7,
                reason => 100 + *reason as u64,
            };
            assert_eq!(passes[reason.label()], expected, "{reason:?}");
        }
    }
}
