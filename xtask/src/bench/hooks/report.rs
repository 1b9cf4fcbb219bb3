//! Writes the figures as tables for people and as JSON for programs.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::extent::Extent;
use super::program::{Loaded, Programs};
use super::{program, round_trips, traffic};
use crate::bench::cluster::{Question, SERVICES_SMALL};
use crate::bench::machine::Machine;
use crate::bench::tables::table;

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) round_trip_extent: Extent,
    pub(crate) program_extent: Extent,
    pub(crate) flow_seconds: f64,
    pub(crate) round_trips: Vec<round_trips::Row>,
    pub(crate) programs: Programs,
    pub(crate) traffic: Vec<traffic::Row>,
}

/// A figure and its limit.
#[derive(Debug, PartialEq, Serialize)]
struct Aim {
    what: &'static str,
    value: f64,
    limit: f64,
    met: bool,
}

impl Aim {
    fn at_most(what: &'static str, value: Option<f64>, limit: f64) -> Self {
        let value = value.unwrap_or(f64::NAN);
        let met = value <= limit;
        Self {
            what,
            value,
            limit,
            met,
        }
    }

    fn at_least(what: &'static str, value: Option<f64>, limit: f64) -> Self {
        let value = value.unwrap_or(f64::NAN);
        let met = value >= limit;
        Self {
            what,
            value,
            limit,
            met,
        }
    }
}

impl Report {
    fn aims(&self) -> Vec<Aim> {
        let trip = |path: &str| {
            let mut rows = self.round_trips.iter();
            let of = rows.find(|row| row.question == Question::A.label() && row.path == path);
            of.map(|row| row.p50_ratio)
        };
        let run = |program: &str, question: Question| {
            let mut rows = self.programs.rows.iter();
            let of = rows.find(|row: &&program::Row| {
                row.program == program
                    && row.question == question.label()
                    && row.services == SERVICES_SMALL
            });
            of.map(|row| row.mean_ns)
        };
        let flow = |traffic: &str| {
            let mut rows = self.traffic.iter();
            let of = rows.find(|row| row.traffic == traffic && row.hook == "auto");
            of.map(|row| row.rate_ratio)
        };
        let Programs {
            xdp_growth,
            tc_growth,
            ..
        } = self.programs;
        vec![
            Aim::at_most(
                "A by XDP: p50 to the floor's",
                trip("headless --hook xdp"),
                1.1,
            ),
            Aim::at_most(
                "A by tc: p50 to the floor's",
                trip("headless --hook tc"),
                1.1,
            ),
            Aim::at_most("A in XDP: run time, ns", run("xdp", Question::A), 200.0),
            Aim::at_most("A in tc: run time, ns", run("tc", Question::A), 200.0),
            Aim::at_most(
                "8 AAAA in XDP: run time, ns",
                run("xdp", Question::Aaaa),
                400.0,
            ),
            Aim::at_most(
                "8 AAAA in tc: run time, ns",
                run("tc", Question::Aaaa),
                400.0,
            ),
            Aim::at_most("XDP: 10,000 Services to 10", Some(xdp_growth), 1.1),
            Aim::at_most("tc: 10,000 Services to 10", Some(tc_growth), 1.1),
            Aim::at_least("TCP out, auto to none", flow("TCP out of the pod"), 0.97),
            Aim::at_least("TCP in, auto to none", flow("TCP into the pod"), 0.97),
            Aim::at_least(
                "small UDP, auto to none",
                flow("small UDP packets out"),
                0.98,
            ),
        ]
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut json = serde_json::to_value(self)?;
        json["aims"] = serde_json::to_value(self.aims())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n", self.machine)?;
        self.show_round_trips(formatter)?;
        self.show_programs(formatter)?;
        self.show_traffic(formatter)?;
        let mut rows = table(&["AIM", "FIGURE", "LIMIT", ""], 1);
        for aim in self.aims() {
            let met = if aim.met { "met" } else { "not met" };
            rows.add_row([
                aim.what.to_owned(),
                format!("{:.3}", aim.value),
                aim.limit.to_string(),
                met.to_owned(),
            ]);
        }
        writeln!(formatter, "{rows}")
    }
}

impl Report {
    fn show_round_trips(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Extent {
            rounds, queries, ..
        } = self.round_trip_extent;
        writeln!(
            formatter,
            "Round trips, one question in flight, all on one CPU; \
             medians of {rounds} alternating rounds of {queries}"
        )?;
        let header = [
            "QUESTION",
            "PATH",
            "ANSWERED BY",
            "P50 us",
            "P99 us",
            "P50 : FLOOR",
            "P99 : FLOOR",
        ];
        let mut rows = table(&header, 3);
        for row in &self.round_trips {
            rows.add_row([
                row.question.to_owned(),
                row.path.to_owned(),
                row.answered_by.to_owned(),
                format!("{:.2}", row.p50_us),
                format!("{:.2}", row.p99_us),
                format!("{:.2}", row.p50_ratio),
                format!("{:.2}", row.p99_ratio),
            ]);
        }
        writeln!(formatter, "{rows}\n")
    }

    fn show_programs(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Extent {
            rounds, queries, ..
        } = self.program_extent;
        writeln!(
            formatter,
            "The programs' run time by bpf_stats, {rounds} alternating rounds of {queries}"
        )?;
        let header = [
            "PROGRAM",
            "QUESTION",
            "SERVICES",
            "RUNS",
            "MEAN ns",
            "MEDIAN ns",
        ];
        let mut rows = table(&header, 2);
        for row in &self.programs.rows {
            rows.add_row([
                row.program.to_owned(),
                row.question.to_owned(),
                row.services.to_string(),
                row.runs.to_string(),
                format!("{:.0}", row.mean_ns),
                format!("{:.0}", row.median_ns),
            ]);
        }
        writeln!(formatter, "{rows}")?;
        for Loaded {
            program,
            verified_instructions,
            instructions,
        } in &self.programs.loaded
        {
            let known = |number: &Option<u32>| number.map_or("unknown".into(), |it| it.to_string());
            writeln!(
                formatter,
                "{program}: {} instructions, {} verified",
                known(instructions),
                known(verified_instructions)
            )?;
        }
        writeln!(formatter)
    }

    fn show_traffic(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "The pods' other traffic, sender and receiver on a CPU each; \
             medians of {} alternating rounds of {} s",
            self.round_trip_extent.flow_rounds, self.flow_seconds
        )?;
        let header = [
            "TRAFFIC",
            "HOOK",
            "RATE",
            "",
            ": NONE",
            "LEAST",
            "MOST",
            "CPU",
            "",
            ": NONE",
            "ROUNDS WITH XDP",
        ];
        let mut rows = table(&header, 2);
        for row in &self.traffic {
            let [least, most] = row.rate_ratio_range;
            rows.add_row([
                row.traffic.to_owned(),
                row.hook.to_owned(),
                format!("{:.2}", row.rate),
                row.rate_unit.to_owned(),
                format!("{:.3}", row.rate_ratio),
                format!("{least:.2}"),
                format!("{most:.2}"),
                format!("{:.1}", row.cost),
                row.cost_unit.to_owned(),
                format!("{:.3}", row.cost_ratio),
                row.rounds_with_xdp.to_string(),
            ]);
        }
        writeln!(formatter, "{rows}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_met_at_the_limit_and_not_without_a_figure() {
        assert!(Aim::at_most("x", Some(1.1), 1.1).met);
        assert!(!Aim::at_most("x", Some(1.11), 1.1).met);
        assert!(!Aim::at_most("x", None, 1.1).met);
        assert!(Aim::at_least("x", Some(0.97), 0.97).met);
        assert!(!Aim::at_least("x", Some(0.96), 0.97).met);
        assert!(!Aim::at_least("x", None, 0.97).met);
    }
}
