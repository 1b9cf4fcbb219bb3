//! The figures, for people and for programs.

mod aims;
mod machine;

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use self::aims::Aim;
pub(crate) use self::machine::Machine;
use crate::changes::Latency;
use crate::delivery::Delivery;
use crate::histogram::Bounds;
use crate::peers::{Agent, Common, CoreDns};
use crate::plan::Plan;

/// A cluster of fewer endpoints is a small one.
const LARGE_FROM: usize = 10_000;

/// The size of the cluster.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Objects {
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    /// Endpoints of the largest Service.
    pub(crate) largest: usize,
}

impl Display for Objects {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            services,
            endpoints,
            largest,
        } = self;
        write!(
            formatter,
            "{services} headless Services, {endpoints} endpoints, the largest with {largest}"
        )
    }
}

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) objects: Objects,
    pub(crate) plan: Plan,
    pub(crate) delivery: Delivery,
    pub(crate) agent: Agent,
    pub(crate) coredns: CoreDns,
}

/// One line: a name, the agent's figure and CoreDNS's.
type Row = (String, String, String);

impl Report {
    fn aims(&self) -> Vec<Aim> {
        if self.plan.settling == 0 {
            // It is a check of the benchmark itself, without optimized programs.
            Vec::new()
        } else if self.objects.endpoints < LARGE_FROM {
            aims::small(&self.agent)
        } else {
            aims::large(&self.agent, &self.coredns)
        }
    }

    /// Memory of the agent and its maps to CoreDNS's memory, after loading and after
    /// the changes.
    fn memory_ratios(&self) -> [f64; 2] {
        let Self { agent, coredns, .. } = self;
        let (ours, theirs) = (&agent.common, &coredns.common);
        let ratio = |ours: u64, theirs: u64| (ours + agent.maps_charged) as f64 / theirs as f64;
        [
            ratio(ours.memory_settled.rss, theirs.memory_settled.rss),
            ratio(ours.memory_changed.rss, theirs.memory_changed.rss),
        ]
    }

    /// Writes the figures as JSON.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_value(self)?;
        json["memory_ratios"] = serde_json::to_value(self.memory_ratios())?;
        json["aims"] = serde_json::to_value(self.aims())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The start, and the memory after it and after the changes.
    fn loading(&self) -> Vec<Row> {
        let Self {
            delivery,
            agent,
            coredns,
            ..
        } = self;
        let both = |what: &str, of: &dyn Fn(&Common) -> String| -> Row {
            (what.into(), of(&agent.common), of(&coredns.common))
        };
        let reading = format!("lists read and thrown away, {}", mb(delivery.bytes));
        let mut rows = vec![
            both("start to ready", &|of| seconds(of.sync)),
            both("processor time of the start", &|of| seconds(of.sync_cpu)),
            (reading, seconds(delivery.seconds), String::new()),
            both("VmRSS when ready", &|of| mb(of.memory_ready.rss)),
        ];
        let settled = format!("{} s after loading", self.plan.settling);
        for (when, changed) in [(settled.as_str(), false), ("after the changes", true)] {
            let memory = |of: &Common| {
                if changed {
                    of.memory_changed
                } else {
                    of.memory_settled
                }
            };
            rows.extend([
                both(&format!("VmRSS {when}"), &|of| mb(memory(of).rss)),
                both("  RssAnon", &|of| mb(memory(of).anonymous)),
                both("  RssFile, pages of the program's file", &|of| {
                    mb(memory(of).file)
                }),
            ]);
        }
        rows.push(both("VmHWM", &|of| mb(of.memory_changed.peak)));
        rows.push((
            "Go heap after the changes".into(),
            String::new(),
            format!("{:.1} MB", coredns.heap / 1e6),
        ));
        rows
    }

    /// The memory of the agent's maps.
    fn maps(&self) -> Vec<Row> {
        let agent = &self.agent;
        let ours = |what: &str, figure: String| -> Row { (what.into(), figure, String::new()) };
        let mut rows = vec![
            ours("maps, by the kernel (memlock)", mb(agent.maps_charged)),
            ours("maps, by the agent's estimate", mb(agent.maps_estimated())),
        ];
        for (name, (entries, bytes)) in &agent.maps {
            let figure = format!("{entries} entries, {}", mb(*bytes));
            rows.push(ours(&format!("  {name}"), figure));
        }
        let anonymous = agent.common.memory_settled.anonymous + agent.maps_charged;
        rows.push(ours("RssAnon and maps after loading", mb(anonymous)));
        let ratios = ["after loading", "after the changes"].into_iter();
        for (when, ratio) in ratios.zip(self.memory_ratios()) {
            let what = format!("VmRSS and maps to VmRSS, {when}");
            rows.push((what, format!("{ratio:.3}"), "1".into()));
        }
        rows
    }

    /// The three kinds of change.
    fn changes(&self) -> Vec<Row> {
        let (agent, theirs) = (&self.agent, &self.coredns.common);
        let ours = &agent.common;
        let both = |what: &str, of: &dyn Fn(&Common) -> String| -> Row {
            (what.into(), of(ours), of(theirs))
        };
        let programming = |of: Bounds| -> Row {
            let what = "  programming duration, p50/p99/max";
            (what.into(), bounds(of), String::new())
        };
        let (steady, large) = (self.plan.changes, self.plan.large_changes);
        vec![
            both(
                &format!("{steady} changes, API to answer, p50/p99/max"),
                &|of| latency(of.steady),
            ),
            both("  rate", &|of| format!("{:.0} /s", of.steady_rate)),
            both("  processor time of a change", &|of| micros(of.steady_cpu)),
            programming(agent.programming_steady),
            both(
                &format!("{} changes at once, until all answered", ours.burst_changes),
                &|of| format!("{} ms", millis(of.burst)),
            ),
            programming(agent.programming_burst),
            both(
                &format!("{large} changes of the largest Service, p50/p99/max"),
                &|of| latency(of.large),
            ),
            both("  processor time of a change", &|of| micros(of.large_cpu)),
            programming(agent.programming_large),
        ]
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn millis(seconds: f64) -> String {
    format!("{:.2}", seconds * 1e3)
}

fn micros(seconds: f64) -> String {
    format!("{:.0} us", seconds * 1e6)
}

fn latency(latency: Latency) -> String {
    let Latency { p50, p99, max } = latency;
    format!("{} / {} / {} ms", millis(p50), millis(p99), millis(max))
}

fn bounds(bounds: Bounds) -> String {
    let Bounds {
        batches,
        p50,
        p99,
        max,
    } = bounds;
    let ms =
        |bound: Option<f64>| bound.map_or_else(|| "?".to_owned(), |at| format!("{}", at * 1e3));
    format!(
        "<= {} / {} / {} ms, {batches} batches",
        ms(p50),
        ms(p99),
        ms(max)
    )
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let head: Row = (
            self.objects.to_string(),
            "headless".into(),
            "CoreDNS".into(),
        );
        let line: Row = ("-".repeat(70), "-".repeat(36), "-".repeat(26));
        let rows = [self.loading(), self.maps(), self.changes()].concat();
        for (what, ours, theirs) in [head, line].into_iter().chain(rows) {
            writeln!(formatter, "| {what:<70} | {ours:<36} | {theirs:<26} |")?;
        }
        writeln!(formatter, "answers: {}", self.agent.answers)?;
        for Aim {
            what,
            value,
            limit,
            met,
        } in self.aims()
        {
            let met = if met { "met" } else { "not met" };
            writeln!(formatter, "aim: {what}: {value:.3}, at most {limit}: {met}")?;
        }
        writeln!(formatter, "{}", self.machine)
    }
}
