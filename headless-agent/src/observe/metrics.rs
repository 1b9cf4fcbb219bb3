//! Metrics in the `OpenMetrics` format: their names, help texts and values.
//!
//! The stages count; a scrape reads the counters. No label has values that a pod or an
//! object could choose.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use headless_ebpf::abi::{Outcome, Path};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabel, EncodeMetric as _,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Snapshot, Sources, log};
use crate::corefile::Part;
use crate::datapath::snapshot::ProgramState;
use crate::mirror::EventKind;
use crate::watch::{Kind, Reason};

/// Content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry with everything of the agent in it.
pub fn registry(sources: &Arc<Sources>) -> Registry {
    let mut registry = Registry::with_prefix("headless");
    registry.register(
        "build",
        "Version of the agent",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry.register_with_unit(
        "dns_programming_duration",
        "Time from the arrival of a change of the cluster to the last map write it caused",
        Unit::Seconds,
        sources.signs.mirror.programming().clone(),
    );
    registry.register_collector(Box::new(Arc::clone(sources)));
    registry
}

/// The metrics as text.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

/// The rcode of an answer (RFC 1035, section 4.1.1).
fn rcode(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Data | Outcome::Truncated | Outcome::NoData => "NOERROR",
        Outcome::NxDomain => "NXDOMAIN",
    }
}

/// Writes the metrics of one name, one value for each set of labels.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<L: EncodeLabel + Debug, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        cells: impl IntoIterator<Item = ([L; N], u64)>,
    ) -> fmt::Result {
        let help = &format!("{help}.");
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in cells {
            if N == 0 {
                return ConstCounter::new(count).encode(metric);
            }
            let cell = metric.encode_family(&labels)?;
            ConstCounter::new(count).encode(cell)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabel + Debug, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        cells: impl IntoIterator<Item = ([L; N], V)>,
    ) -> fmt::Result {
        let help = &format!("{help}.");
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in cells {
            if N == 0 {
                return ConstGauge::new(value).encode(metric);
            }
            let cell = metric.encode_family(&labels)?;
            ConstGauge::new(value).encode(cell)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.gauges(name, help, unit, [(NONE, value)])
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.look().map_err(|_| fmt::Error)?;
        let mut page = Page(encoder);
        snapshot.encode_answers(&mut page)?;
        snapshot.encode_maps(&mut page)?;
        snapshot.encode_watch(&mut page)?;
        snapshot.encode_corefile(&mut page)?;
        snapshot.encode_programs(&mut page)
    }
}

impl Snapshot {
    fn encode_corefile(&self, page: &mut Page<'_>) -> fmt::Result {
        let parts = Part::ALL.into_iter();
        page.gauges(
            "corefile_stands_down",
            "Whether questions are left to CoreDNS because of its Corefile",
            None,
            parts.map(|part| {
                let labels = [("part", part.label())];
                (labels, i64::from(self.standing.left.parts.has(part)))
            }),
        )?;
        page.gauge(
            "corefile_names",
            "Names of the zone that are left to CoreDNS because of its Corefile",
            None,
            self.standing.left.names.len() as u64,
        )
    }

    fn encode_answers(&self, page: &mut Page<'_>) -> fmt::Result {
        let tallies = &self.tallies;
        page.counters(
            "dns_answers",
            "Answers, by who gave them",
            tallies.iter().flat_map(|(path, tally)| {
                tally.answers.iter().map(|(kind, outcome, count)| {
                    let labels = [
                        ("path", *path),
                        ("qtype", kind.label()),
                        ("rcode", rcode(*outcome)),
                        ("outcome", outcome.label()),
                    ];
                    (labels, *count)
                })
            }),
        )?;
        page.counters(
            "dns_passes",
            "Packets left to the next in line, bit for bit as they came, by reason: what XDP leaves, tc sees",
            tallies.iter().flat_map(|(path, tally)| {
                tally
                    .passes
                    .iter()
                    .map(|(reason, count)| ([("path", *path), ("reason", reason.label())], *count))
            }),
        )?;
        let messages = &self.messages;
        page.counters(
            "agent_messages",
            "Messages to the agent's responder that the engine passed, by result",
            [
                ([("result", "resolved")], messages.resolved),
                ([("result", "refused")], messages.refused),
                ([("result", "ignored")], messages.ignored),
                ([("result", "unsent")], messages.unsent),
            ],
        )
    }

    fn encode_maps(&self, page: &mut Page<'_>) -> fmt::Result {
        let cells = |value: fn(&super::snapshot::Map) -> u64| {
            let maps = self.maps.iter();
            maps.map(move |(map, usage)| ([("map", map.label())], value(usage)))
        };
        page.gauges(
            "map_entries",
            "Entries of a map",
            None,
            cells(|map| map.entries),
        )?;
        page.gauges(
            "map_capacity",
            "Entries that a map can have",
            None,
            cells(|map| map.capacity),
        )?;
        page.gauges(
            "map_memory",
            "Estimate of a map's kernel memory",
            Some(&Unit::Bytes),
            cells(|map| map.bytes),
        )?;
        let writes = &self.writes;
        page.counters(
            "map_writes",
            "Writes to the maps, by result",
            [
                ([("result", "written")], writes.written),
                ([("result", "full")], writes.full),
                ([("result", "failed")], writes.failed),
            ],
        )?;
        page.counters(
            "map_drift",
            "Entries that a full pass found to differ from the index",
            [(NONE, writes.drift)],
        )?;
        page.gauge(
            "map_names_pending",
            "Names whose last write failed and that are tried again",
            None,
            writes.pending,
        )?;
        page.gauge(
            "map_names_crowded",
            "Names whose addresses find no room and that userspace answers",
            None,
            writes.crowded,
        )?;
        page.gauge(
            "map_yielding_services",
            "Services that yield the room of their names or reverse names in a nearly full map",
            None,
            writes.yielding_services,
        )?;
        page.gauge(
            "map_yielding_namespaces",
            "Namespaces with names that yield",
            None,
            writes.yielding_namespaces,
        )?;
        page.gauge(
            "complete",
            "Whether the programs may give negative answers",
            None,
            u64::from(writes.complete),
        )
    }

    fn encode_watch(&self, page: &mut Page<'_>) -> fmt::Result {
        let vitals = &self.vitals;
        let mirror = &vitals.mirror;
        page.counters(
            "watch_events",
            "Changes of the cluster, by kind of object",
            Kind::ALL.into_iter().flat_map(|kind| {
                EventKind::ALL.into_iter().map(move |event| {
                    let labels = [("kind", kind.name()), ("event", event.label())];
                    (labels, mirror.events(kind, event))
                })
            }),
        )?;
        let problems = &mirror.problem_counts;
        page.counters(
            "object_problems",
            "Objects or parts of them that cannot be served, by reason",
            Reason::LABELS.into_iter().map(|reason| {
                let count = problems.get(reason).copied().unwrap_or_default();
                ([("reason", reason)], count)
            }),
        )?;
        page.counters(
            "log_lines_left_out",
            "Log lines that were left out, by whose limit: a place in the agent, or a namespace with broken objects",
            [
                ([("limit", "place")], log::left_out()),
                ([("limit", "namespace")], mirror.lines_left_out),
            ],
        )?;
        page.counters(
            "watch_errors",
            "Requests to the API server that failed, by kind of object",
            self.failures.iter().map(|(kind, reason, count)| {
                let labels = [("kind", kind.name()), ("reason", reason.label())];
                (labels, *count)
            }),
        )?;
        page.gauge(
            "source_age",
            "Time that the agent may be behind the cluster; 0 while every watch runs",
            Some(&Unit::Seconds),
            vitals.source_age.as_secs_f64(),
        )?;
        page.gauge(
            "source_silence",
            "Time since the API server last sent anything on the watch that is silent for longest",
            Some(&Unit::Seconds),
            vitals.silence.map_or(0.0, |it| it.age.as_secs_f64()),
        )?;
        page.gauge(
            "source_current",
            "Whether the source has been silent for no longer than negative answers allow",
            None,
            u64::from(vitals.silent().is_none()),
        )?;
        page.gauge(
            "heartbeat_age",
            "Time since the programs were last told that the agent lives",
            Some(&Unit::Seconds),
            vitals.heartbeat_age.unwrap_or_default().as_secs_f64(),
        )
    }

    fn encode_programs(&self, page: &mut Page<'_>) -> fmt::Result {
        let attachments = self.datapath.attachments.values();
        let states: Vec<_> = attachments
            .flat_map(|attachment| {
                let xdp = (Path::Xdp, attachment.xdp.label());
                [xdp, (Path::Tc, attachment.tc.label())]
            })
            .collect();
        page.gauges(
            "interfaces",
            "Interfaces that could get a program, by the program's state on them",
            None,
            Path::ALL.into_iter().flat_map(|path| {
                let states = &states;
                ProgramState::LABELS.into_iter().map(move |label| {
                    let count = states.iter().filter(|it| **it == (path, label)).count();
                    ([("program", path.label()), ("state", label)], count as u64)
                })
            }),
        )?;
        let restored = self.datapath.restored.iter();
        page.counters(
            "program_restorations",
            "Programs that somebody removed from an interface and that were attached again",
            restored.map(|(path, count)| ([("program", *path)], *count)),
        )?;
        let programs = &self.datapath.programs;
        let label = |path: &'static str| [("program", path)];
        page.gauges(
            "program_verified_instructions",
            "Instructions that the verifier looked at; 0 where the kernel does not tell",
            None,
            programs.iter().map(|(path, program)| {
                let count = program.verified_instructions.unwrap_or_default();
                (label(path), u64::from(count))
            }),
        )?;
        page.counters(
            "program_runs",
            "Runs of a program; 0 unless kernel.bpf_stats_enabled",
            programs
                .iter()
                .map(|(path, program)| (label(path), program.run_count)),
        )?;
        let mut metric = page.0.encode_descriptor(
            "program_run",
            "Time spent in a program; 0 unless kernel.bpf_stats_enabled.",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (path, program) in programs {
            let seconds = Duration::from_nanos(program.run_time_ns).as_secs_f64();
            let labels = label(path);
            let cell = metric.encode_family(&labels)?;
            ConstCounter::new(seconds).encode(cell)?;
        }
        Ok(())
    }
}

/// No labels.
const NONE: [(&str, &str); 0] = [];
