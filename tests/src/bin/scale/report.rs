//! The figures, for people and for programs.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::changes::Latency;
use crate::delivery::Delivery;
use crate::histogram::Bounds;
use crate::peers::{Agent, CoreDns};

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory: String,
}

impl Machine {
    /// Reads it from `/proc`.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let value = |file: &str, name: &str| {
            let text = fs::read_to_string(file)?;
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            anyhow::Ok(value.map_or_else(String::new, |(_, value)| value.trim().to_owned()))
        };
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .into(),
            processor: value("/proc/cpuinfo", "model name")?,
            processors: std::thread::available_parallelism()?.get(),
            memory: value("/proc/meminfo", "MemTotal")?,
        })
    }
}

/// What the cluster is made of.
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

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) objects: Objects,
    pub(crate) changes: usize,
    pub(crate) delivery: Delivery,
    pub(crate) agent: Agent,
    pub(crate) coredns: CoreDns,
}

impl Report {
    /// Memory of the agent and its maps against that of CoreDNS, with both left
    /// alone after loading, and after the changes.
    fn ratios(&self) -> [f64; 2] {
        let Self { agent, coredns, .. } = self;
        let (ours, theirs) = (&agent.common, &coredns.common);
        let ratio = |ours: u64, theirs: u64| (ours + agent.maps_charged) as f64 / theirs as f64;
        [
            ratio(ours.memory_settled.rss, theirs.memory_settled.rss),
            ratio(ours.memory_changed.rss, theirs.memory_changed.rss),
        ]
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_value(self)?;
        json["memory_ratios"] = serde_json::to_value(self.ratios())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn ms(seconds: f64) -> String {
    format!("{:.2}", seconds * 1e3)
}

fn latency(latency: Latency) -> String {
    let Latency { p50, p99, max } = latency;
    format!("{} / {} / {} ms", ms(p50), ms(p99), ms(max))
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
    #[expect(clippy::too_many_lines, reason = "one row after the other")]
    #[expect(clippy::cast_sign_loss, reason = "sizes are not negative")]
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            objects,
            changes,
            delivery,
            agent,
            coredns,
        } = self;
        let (ours, theirs) = (&agent.common, &coredns.common);
        let mut row = |what: &str, ours: &str, theirs: &str| {
            writeln!(formatter, "| {what:<50} | {ours:<34} | {theirs:<26} |")
        };
        row(&objects.to_string(), "headless", "CoreDNS")?;
        row(&"-".repeat(50), &"-".repeat(34), &"-".repeat(26))?;
        let seconds = |seconds: f64| format!("{seconds:.2} s");
        row("start to ready", &seconds(ours.sync), &seconds(theirs.sync))?;
        row(
            "processor time of that",
            &seconds(ours.sync_cpu),
            &seconds(theirs.sync_cpu),
        )?;
        let bytes = mb(delivery.bytes);
        let reading = format!("lists read and thrown away, {bytes}");
        row(&reading, &seconds(delivery.seconds), "")?;
        for (what, [ours, theirs]) in [
            (
                "VmRSS when ready",
                [&ours.memory_ready, &theirs.memory_ready],
            ),
            (
                "VmRSS left alone",
                [&ours.memory_settled, &theirs.memory_settled],
            ),
            (
                "VmRSS after the changes",
                [&ours.memory_changed, &theirs.memory_changed],
            ),
        ] {
            row(what, &mb(ours.rss), &mb(theirs.rss))?;
        }
        let peaks = [ours.memory_changed.peak, theirs.memory_changed.peak];
        row("VmHWM", &mb(peaks[0]), &mb(peaks[1]))?;
        let anonymous = [&ours.memory_changed, &theirs.memory_changed].map(|of| mb(of.anonymous));
        row("RssAnon after the changes", &anonymous[0], &anonymous[1])?;
        row("Go heap after the changes", "", &mb(coredns.heap as u64))?;
        row(
            "kernel maps, by the kernel (memlock)",
            &mb(agent.maps_charged),
            "",
        )?;
        row(
            "kernel maps, by the agent's estimate",
            &mb(agent.maps_estimated()),
            "",
        )?;
        for (name, (entries, bytes)) in &agent.maps {
            row(
                &format!("  {name}"),
                &format!("{entries} entries, {}", mb(*bytes)),
                "",
            )?;
        }
        let [settled, changed] = self.ratios();
        row(
            "VmRSS and maps : VmRSS, left alone",
            &format!("{settled:.3}"),
            "1",
        )?;
        row(
            "VmRSS and maps : VmRSS, after the changes",
            &format!("{changed:.3}"),
            "1",
        )?;
        row(
            &format!("{changes} changes, API to answer, p50/p99/max"),
            &latency(ours.steady),
            &latency(theirs.steady),
        )?;
        let rate = |rate: f64| format!("{rate:.0} /s");
        row("  rate", &rate(ours.steady_rate), &rate(theirs.steady_rate))?;
        let cpu = |seconds: f64| format!("{:.0} us", seconds * 1e6);
        row(
            "  processor time of a change",
            &cpu(ours.steady_cpu),
            &cpu(theirs.steady_cpu),
        )?;
        row(
            "  programming duration",
            &bounds(agent.programming_steady),
            "",
        )?;
        let burst = |seconds: f64| format!("{} ms", ms(seconds));
        row(
            &format!("{} changes at once, until all answered", ours.burst_changes),
            &burst(ours.burst),
            &burst(theirs.burst),
        )?;
        row(
            "  programming duration",
            &bounds(agent.programming_burst),
            "",
        )?;
        row(
            "changes in the largest Service, p50/p99/max",
            &latency(ours.large),
            &latency(theirs.large),
        )?;
        row(
            "  processor time of a change",
            &cpu(ours.large_cpu),
            &cpu(theirs.large_cpu),
        )?;
        row(
            "  programming duration",
            &bounds(agent.programming_large),
            "",
        )?;
        writeln!(formatter, "answers: {}", agent.answers)?;
        let Machine {
            kernel,
            processor,
            processors,
            memory,
        } = machine;
        writeln!(
            formatter,
            "{processors} x {processor}, {memory}, Linux {kernel}"
        )
    }
}
