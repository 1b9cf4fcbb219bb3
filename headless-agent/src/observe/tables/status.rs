//! The status as people read it: first what an operator must act on, then the state in a line,
//! then the figures.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use comfy_table::Table;

use super::{lines, list, table};
use crate::datapath::snapshot::{Attachment, Program, ProgramState};
use crate::observe::explain;
use crate::observe::status::{Answers, Status};
use crate::policy::Cause;
use crate::watch::Printable;

/// Reports about objects that are shown without `--all`.
const REPORTED_SHOWN_MAX: usize = 10;

/// The parts of the status that `status` prints.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Also counts of zero, and all reports about objects.
    pub all: bool,
    /// Also the meaning of each reason that is shown.
    pub explain: bool,
    /// Time between two looks at the counts, from which rates follow; zero for one look without
    /// rates.
    pub interval: Duration,
}

/// The whole status, as `view` chooses. Rates follow from an earlier status, `before`.
pub(in crate::observe) fn status(
    status: &Status,
    before: Option<&Status>,
    view: &View,
) -> Result<String, fmt::Error> {
    let figures = Figures::new(status, before, view);
    let mut text = String::new();
    section(&mut text, "Problems", &status.problems)?;
    let reported = reported(&status.reported, view.all);
    section(&mut text, "Reported of objects", &reported)?;
    head(&mut text, status)?;
    section(&mut text, "Notes", &status.notes)?;
    for (title, table) in [
        ("Answers", figures.answers()),
        ("Passes", figures.passes()),
        ("Interfaces", interfaces(status)),
        ("Maps", figures.maps()),
    ] {
        let lines = if table.is_empty() {
            "none".into()
        } else {
            lines(&table)
        };
        writeln!(text, "{title}\n{lines}\n")?;
    }
    if view.explain {
        section(&mut text, "Meaning of the reasons", &figures.explanations())?;
    }
    for (path, program) in &status.programs {
        writeln!(text, "{}", program_line(path, program))?;
    }
    Ok(text)
}

/// A title and sentences, if there are any, and an empty line.
fn section(text: &mut String, title: &str, sentences: &[String]) -> fmt::Result {
    if sentences.is_empty() {
        return Ok(());
    }
    writeln!(text, "{title}")?;
    for sentence in sentences {
        // Parts of a sentence are foreign text: the API server's, or an interface's name.
        writeln!(text, "  {}", Printable(sentence))?;
    }
    writeln!(text)
}

/// The latest reports: all, or the last ones and the number of the others.
fn reported(reported: &[String], all: bool) -> Vec<String> {
    let hidden = reported.len().saturating_sub(REPORTED_SHOWN_MAX);
    if all || hidden == 0 {
        return reported.to_vec();
    }
    let mut shown = vec![format!("{hidden} older reports are left out: --all")];
    shown.extend_from_slice(&reported[hidden..]);
    shown
}

/// The state in a line, and the served addresses.
fn head(text: &mut String, status: &Status) -> fmt::Result {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let uptime = Duration::try_from_secs_f64(status.uptime).unwrap_or_default();
    let uptime = Duration::from_secs(uptime.as_secs());
    writeln!(
        text,
        "version {}  up {}  synced {}  complete {}  lease {} s  heartbeat {:.1} s ago  \
         source {:.0} s ago",
        status.version,
        humantime::format_duration(uptime),
        yes(status.synced),
        yes(status.complete),
        status.lease,
        status.heartbeat_age,
        status.silence.unwrap_or(status.age),
    )?;
    writeln!(text, "servers {}", list(&status.servers))?;
    writeln!(text, "{}\n", status.policy.line())
}

fn program_line(path: &str, program: &Program) -> String {
    let instructions = program.verified_instructions;
    let instructions = instructions.map_or_else(|| "unknown".into(), |count| count.to_string());
    let runs = program
        .run_time_ns
        .checked_div(program.run_count)
        .map_or_else(
            || "run times not measured (kernel.bpf_stats_enabled=0)".into(),
            |mean| format!("{} runs of {mean} ns", program.run_count),
        );
    format!(
        "Program {path}, id {}: {instructions} instructions verified, {} bytes of machine code, \
         {runs}",
        program.id, program.jited_bytes,
    )
}

/// The interfaces, with the TCP connections to served addresses. `lifted` and `unused` are choices;
/// what went wrong is a problem, too.
fn interfaces(status: &Status) -> Table {
    let head = [
        "INTERFACE",
        "XDP",
        "TC",
        "MODE",
        "POD",
        "INDEX",
        "MTU",
        "BY TCP",
    ];
    let mut interfaces = table(head, 5);
    for interface in &status.interfaces {
        let connections = status.connections.get(&interface.ifindex);
        let [xdp, tc] = [&interface.xdp, &interface.tc].map(|state| match state {
            ProgramState::Attached => "attached",
            ProgramState::Observing => "counts what it would answer",
            ProgramState::Off => "off",
            ProgramState::Lifted => "lifted while the pod sends much",
            ProgramState::Unused => "not used",
            ProgramState::Uplink => "carries a default route, left alone without --serve-uplink",
            ProgramState::Foreign => "another program, left alone",
            ProgramState::Refused(reason) | ProgramState::Failed(reason) => reason,
        });
        interfaces.add_row([
            &Printable(&interface.name).to_string(),
            &Printable(xdp).to_string(),
            &Printable(tc).to_string(),
            &mode(interface),
            &Printable(interface.pod.as_deref().unwrap_or("-")).to_string(),
            &interface.ifindex.to_string(),
            &interface.mtu.to_string(),
            &connections.map_or_else(String::new, u64::to_string),
        ]);
    }
    interfaces
}

/// The mode of an interface, and why it has this mode where the node's does not hold.
fn mode(interface: &Attachment) -> String {
    match interface.cause {
        Cause::Node => interface.mode.to_string(),
        cause => format!("{} ({})", interface.mode, cause.text()),
    }
}

/// The counts of a status and of an earlier one.
struct Figures<'a> {
    now: &'a Status,
    before: Option<&'a Status>,
    view: &'a View,
}

impl<'a> Figures<'a> {
    fn new(now: &'a Status, before: Option<&'a Status>, view: &'a View) -> Self {
        // An agent that has started again in between has counted from zero.
        let before = before.filter(|before| before.uptime < now.uptime);
        Self { now, before, view }
    }

    /// Whether a row is shown that has these counts.
    fn shows(&self, counts: &[u64]) -> bool {
        self.view.all || counts.iter().any(|count| *count > 0)
    }

    /// The growth of a count per second. Empty where it is unknown.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(&self, now: u64, count: impl Fn(&Status) -> Option<u64>) -> String {
        let rate = || {
            let before = self.before?;
            let growth = now.checked_sub(count(before)?)?;
            Some(growth as f64 / (self.now.uptime - before.uptime))
        };
        rate().map_or_else(String::new, |rate| format!("{rate:.1}"))
    }

    /// The totals of each path, then the parts.
    fn answers(&self) -> Table {
        let mut answers = table(["PATH", "TYPE", "OUTCOME", "COUNT", "PER SECOND"], 3);
        for (path, &count) in &self.now.answers {
            if self.shows(&[count]) {
                let rate = self.rate(count, |status| status.answers.get(path).copied());
                answers.add_row([path, "all", "all", &count.to_string(), &rate]);
            }
        }
        for row in &self.now.answers_by_type {
            if self.shows(&[row.count]) {
                let same = |it: &&Answers| {
                    (&it.path, &it.qtype, &it.outcome) == (&row.path, &row.qtype, &row.outcome)
                };
                let rate = self.rate(row.count, |status| {
                    let row = status.answers_by_type.iter().find(same);
                    row.map(|row| row.count)
                });
                let count = row.count.to_string();
                answers.add_row([&row.path, &row.qtype, &row.outcome, &count, &rate]);
            }
        }
        answers
    }

    /// The reasons that are shown, each with its counts in the kernel and in the agent.
    fn reasons(&self) -> impl Iterator<Item = (&'a String, u64, u64)> {
        let of = |counts: &BTreeMap<String, u64>, reason| {
            counts.get(reason).copied().unwrap_or_default()
        };
        let reasons = self.now.passes.keys();
        let reasons = reasons.map(move |reason| {
            let kernel = of(&self.now.passes, reason);
            (reason, kernel, of(&self.now.agent_passes, reason))
        });
        reasons.filter(|(_, kernel, agent)| self.shows(&[*kernel, *agent]))
    }

    fn passes(&self) -> Table {
        let mut passes = table(["REASON", "KERNEL", "PER SECOND", "AGENT"], 1);
        for (reason, kernel, agent) in self.reasons() {
            let rate = self.rate(kernel, |status| status.passes.get(reason).copied());
            passes.add_row([reason, &kernel.to_string(), &rate, &agent.to_string()]);
        }
        passes
    }

    fn explanations(&self) -> Vec<String> {
        let explained = self.reasons().map(|(reason, ..)| {
            let text = explain::of_label(reason);
            let text = text.unwrap_or("This program is older than the agent and does not know it.");
            format!("{reason}: {text}")
        });
        explained.collect()
    }

    fn maps(&self) -> Table {
        let mut maps = table(["MAP", "ENTRIES", "CAPACITY", "BYTES"], 1);
        for (map, usage) in &self.now.maps {
            if self.shows(&[usage.entries]) {
                maps.add_row([
                    map,
                    &usage.entries.to_string(),
                    &usage.capacity.to_string(),
                    &usage.bytes.to_string(),
                ]);
            }
        }
        maps
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    /// A status with these counts after so many seconds.
    fn at(uptime: f64, answers: u64, passes: u64) -> Status {
        let map = |entries: u64| json!({ "entries": entries, "capacity": 8, "bytes": 64 });
        let status = json!({
            "version": "1", "uptime": uptime,
            "answers": { "tc": 0, "xdp": answers },
            "answers_by_type": [
                { "path": "xdp", "qtype": "a", "outcome": "answered", "count": answers },
                { "path": "xdp", "qtype": "srv", "outcome": "nodata", "count": 0 },
            ],
            "passes": { "edns": passes, "busy": 0 },
            "agent_passes": { "edns": 0, "busy": 0 },
            "agent_resolved": 0,
            "interfaces": [], "programs": {}, "servers": ["10.96.0.10"],
            "maps": { "names_table": map(3), "names_long": map(0) },
            "lease": 30.0, "heartbeat_age": 0.5, "age": 0.0, "silence": null,
            "serial": 1, "synced": true, "complete": true, "left_to_coredns": [],
            "problems": ["first of all"], "notes": ["a choice"], "reported": [],
        });
        serde_json::from_value(status).unwrap()
    }

    /// The words of the line that begins with `start`.
    fn row<'a>(text: &'a str, start: &str) -> Option<Vec<&'a str>> {
        let line = text.lines().find(|line| line.trim().starts_with(start))?;
        Some(line.split_whitespace().collect())
    }

    #[test]
    fn problems_stand_first_and_zeroes_are_left_out() {
        let mut given = at(9.0, 7, 5);
        given.reported = (0..12).map(|i| format!("report {i}")).collect();
        let text = status(&given, None, &View::default()).unwrap();
        assert!(text.starts_with("Problems\n  first of all\n"), "{text}");
        assert_eq!(row(&text, "2 older reports").map(|it| it.len()), Some(7));
        assert!(!text.contains("report 1\n") && text.contains("report 11\n"));
        assert_eq!(row(&text, "edns"), Some(vec!["edns", "5", "0"]));
        assert_eq!(row(&text, "xdp"), Some(vec!["xdp", "all", "all", "7"]));
        for absent in ["busy", "names_long", "tc", "edns:"] {
            assert_eq!(row(&text, absent), None, "{absent}: {text}");
        }
        let all = View {
            all: true,
            ..View::default()
        };
        let text = status(&given, None, &all).unwrap();
        for present in ["busy", "names_long", "tc", "report 0"] {
            assert!(row(&text, present).is_some(), "{present}: {text}");
        }
    }

    #[test]
    fn rates_are_the_growth_between_two_looks() {
        let view = View::default();
        let text = status(&at(12.0, 30, 5), Some(&at(10.0, 10, 2)), &view).unwrap();
        let expected = ["xdp", "all", "all", "30", "10.0"];
        assert_eq!(row(&text, "xdp").unwrap(), expected);
        assert_eq!(row(&text, "edns").unwrap(), ["edns", "5", "1.5", "0"]);
        // Another agent: its counts are no growth.
        let text = status(&at(1.0, 30, 5), Some(&at(10.0, 10, 2)), &view).unwrap();
        assert_eq!(row(&text, "edns").unwrap(), ["edns", "5", "0"]);
    }

    #[test]
    fn the_reasons_that_are_shown_are_explained() {
        let mut given = at(9.0, 7, 5);
        let view = View {
            explain: true,
            ..View::default()
        };
        given.passes.insert("of_a_newer_agent".into(), 1);
        let text = status(&given, None, &view).unwrap();
        assert!(
            text.contains("\n  edns: The record behind the question"),
            "{text}"
        );
        assert!(text.contains("of_a_newer_agent: This program is older"));
        assert!(!text.contains("busy: "), "{text}");
    }
}
