//! The state of the agent as one value: what `status` prints and
//! `/status.json` has. Other tools rely on the keys.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use headless_ebpf::abi::{AnswerKind, Counter, Outcome, PassReason, Path};
use serde::{Deserialize, Serialize};

use super::Observed;
use crate::datapath::snapshot::{Attachment, Program, ProgramState, Snapshot};
use crate::maps::{MapKind, heartbeat};

/// Label of the agent's own answers, beside those of the programs.
pub const AGENT: &str = "agent";

/// The whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Answers by who gave them: `xdp`, `tc`, `agent`.
    pub answers: BTreeMap<String, u64>,
    /// Packets that the programs passed, by reason: each once, by the tc program,
    /// which is behind XDP wherever that is; `lost` is of both.
    pub passes: BTreeMap<String, u64>,
    /// Answers by who gave them, question type and outcome.
    pub answers_by_type: Vec<Answers>,
    /// Messages that the agent's engine passed, by reason.
    pub agent_passes: BTreeMap<String, u64>,
    /// Messages that the agent answered by the rules outside the engine.
    pub agent_resolved: u64,
    /// Interfaces that were to get the programs.
    pub interfaces: Vec<Attachment>,
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
    /// Seconds that what is known of the cluster may be behind it: 0 while every
    /// watch runs.
    pub age: f64,
    /// Serial of the SOA.
    pub serial: u32,
    /// Whether the whole cluster has been read.
    pub synced: bool,
    /// Whether the programs may give negative answers.
    pub complete: bool,
    /// What is not as it should be, each in a sentence.
    pub problems: Vec<String>,
    /// What was wrong with objects as they came, the latest of it.
    pub reported: Vec<String>,
}

/// A number of answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// Who gave them.
    pub path: String,
    /// Question type.
    pub qtype: String,
    /// What they said.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// A map.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Map {
    /// Entries it has.
    pub entries: u64,
    /// Entries it can have.
    pub capacity: u64,
    /// Estimate of its kernel memory in bytes.
    pub bytes: u64,
}

/// Answers and passes, taken apart.
#[derive(Debug, Default)]
pub struct Tally {
    /// By kind and outcome.
    pub answers: Vec<(AnswerKind, Outcome, u64)>,
    /// By reason.
    pub passes: Vec<(PassReason, u64)>,
}

impl Tally {
    /// The cells of one path in counters by index.
    pub fn of(path: Path, cells: &[u64]) -> Self {
        let cell = |Counter(index): Counter| cells.get(index as usize).copied().unwrap_or_default();
        let mut tally = Self::default();
        for kind in AnswerKind::ALL {
            for outcome in Outcome::ALL {
                let count = cell(Counter::answer(path, kind, outcome));
                tally.answers.push((kind, outcome, count));
            }
        }
        for &reason in PassReason::ALL {
            tally
                .passes
                .push((reason, cell(Counter::pass(path, reason))));
        }
        tally
    }

    /// All answers.
    pub fn answered(&self) -> u64 {
        self.answers.iter().map(|(_, _, count)| count).sum()
    }
}

/// Packets that the programs passed, by reason: by tc, which sees whatever XDP passes,
/// and those that XDP lost, which nobody sees.
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

impl Observed {
    /// What the programs and the agent counted, by label of who it was.
    pub fn tallies(&self) -> anyhow::Result<Vec<(&'static str, Tally)>> {
        let kernel = self.counters.read().context("cannot read the counters")?;
        let mut tallies: Vec<_> = Path::ALL
            .iter()
            .map(|path| (path.label(), Tally::of(*path, &kernel)))
            .collect();
        let own = self.responder.read();
        tallies.push((AGENT, Tally::of(Path::Xdp, &own)));
        Ok(tallies)
    }

    /// Everything, now.
    pub fn status(&self) -> anyhow::Result<Status> {
        let resolved = self.responder.resolved.load(Ordering::Relaxed);
        let mut answers = BTreeMap::new();
        let mut answers_by_type = Vec::new();
        let tallies = self.tallies()?;
        for (path, tally) in &tallies {
            let other = if *path == AGENT { resolved } else { 0 };
            answers.insert((*path).to_owned(), tally.answered() + other);
            answers_by_type.extend(tally.answers.iter().map(|(kind, outcome, count)| Answers {
                path: (*path).into(),
                qtype: kind.label().into(),
                outcome: outcome.label().into(),
                count: *count,
            }));
        }
        let own = tallies.iter().filter(|(path, _)| *path == AGENT);
        let own = own.flat_map(|(_, tally)| &tally.passes);
        let agent_passes = own.map(|(reason, count)| (reason.label().into(), *count));
        let agent_passes = agent_passes.collect();
        let passes = kernel_passes(&tallies);
        let synced = self.mirror.index().synced();
        let datapath = self.datapath();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            answers,
            passes,
            answers_by_type,
            agent_passes,
            agent_resolved: resolved,
            interfaces: datapath.attachments.values().cloned().collect(),
            maps: self.map_usage(),
            programs: datapath
                .programs
                .iter()
                .map(|(path, program)| ((*path).to_owned(), program.clone()))
                .collect(),
            servers: self.mirror.servers(),
            lease: self.lease.as_secs_f64(),
            heartbeat_age: self.heartbeat_age().unwrap_or_default(),
            age: self.mirror.source().age().as_secs_f64(),
            serial: self.mirror.serial(),
            synced,
            complete: self.writes.complete(),
            problems: self.problems(),
            reported: self.mirror.reported(),
        })
    }

    /// Use of every map, by label.
    pub fn map_usage(&self) -> BTreeMap<String, Map> {
        let usage = |map: MapKind| {
            let entries = self.writes.entries(map);
            let capacity = u64::from(self.capacities.of(map));
            Map {
                entries,
                capacity,
                bytes: map.bytes(entries, capacity),
            }
        };
        MapKind::ALL
            .into_iter()
            .map(|map| (map.label().to_owned(), usage(map)))
            .collect()
    }

    /// Seconds since the last heartbeat; `None` before the first.
    pub fn heartbeat_age(&self) -> Option<f64> {
        let beat = self.writes.beat_ns.load(Ordering::Relaxed);
        let age = heartbeat::monotonic_ns().saturating_sub(beat);
        (beat != 0).then(|| std::time::Duration::from_nanos(age).as_secs_f64())
    }

    /// The programs and their interfaces, as they were at the last comparison.
    pub fn datapath(&self) -> Arc<Snapshot> {
        Arc::clone(&self.datapath.borrow())
    }

    /// What keeps the agent from being ready, with why where that is known.
    pub fn missing(&self) -> Vec<String> {
        let outages = self.mirror.source().outages();
        let mut missing: Vec<String> = self
            .mirror
            .index()
            .missing()
            .into_iter()
            .map(|what| {
                let whys = outages.iter().filter(|(kind, _)| kind.resource() == what);
                let whys: Vec<_> = whys.map(|(_, why)| why.as_str()).collect();
                match whys.as_slice() {
                    [] => format!("{what} synced"),
                    whys => format!("{what} synced: {}", whys.join("; ")),
                }
            })
            .collect();
        if !self.datapath.borrow().compared {
            missing.push("programs attached".into());
        }
        missing
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self
            .missing()
            .into_iter()
            .map(|what| format!("not ready: {what}"))
            .collect();
        if self.mirror.index().synced() {
            let outages = self.mirror.source().outages();
            let stale = |(_, why)| format!("the cluster may have changed since: {why}");
            problems.extend(outages.into_iter().map(stale));
        }
        for map in MapKind::ALL {
            let (entries, capacity) = (self.writes.entries(map), self.capacities.of(map));
            if entries >= u64::from(capacity) {
                problems.push(format!("map {} is full ({capacity} entries)", map.label()));
            }
        }
        let pending = self.writes.pending.load(Ordering::Relaxed);
        if pending > 0 {
            problems.push(format!(
                "{pending} names could not be written: negative answers are withheld"
            ));
        }
        for interface in self.datapath().attachments.values() {
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
        let index = self.mirror.index();
        problems.extend(index.problems().iter().map(ToString::to_string));
        problems
    }
}

#[cfg(test)]
mod tests {
    use headless_ebpf::abi::COUNTERS;

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
