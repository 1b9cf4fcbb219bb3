//! The status and the names as people read them.

use std::fmt::{self, Display, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::dump::{Data, Name};
use super::status::Status;
use crate::datapath::snapshot::{Program, ProgramState};
use crate::watch::Printable;

/// Addresses that a line of `dump` shows.
const ADDRESSES_SHOWN_MAX: usize = 4;

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

/// Right-aligns columns of numbers.
fn numbers(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn lines(table: &Table) -> String {
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

/// The whole status.
pub(super) fn status(status: &Status) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    writeln!(
        text,
        "version {}  synced {}  complete {}  lease {} s  heartbeat {:.1} s ago  source {:.0} s ago",
        status.version,
        yes(status.synced),
        yes(status.complete),
        status.lease,
        status.heartbeat_age,
        status.silence.unwrap_or(status.age),
    )?;
    writeln!(text, "servers {}", list(&status.servers))?;
    for (title, table) in [
        ("Answers", answers(status)),
        ("Passes", passes(status)),
        ("Interfaces", interfaces(status)),
        ("Maps", maps(status)),
    ] {
        writeln!(text, "\n{title}\n{}", lines(&table))?;
    }
    for (path, program) in &status.programs {
        writeln!(text, "\n{}", program_line(path, program))?;
    }
    for (title, sentences) in [
        ("Problems", &status.problems),
        ("Reported of objects", &status.reported),
    ] {
        if !sentences.is_empty() {
            writeln!(text, "\n{title}")?;
            for sentence in sentences {
                // Parts of a sentence are foreign text: the API server's, or an interface's name.
                writeln!(text, "  {}", Printable(sentence))?;
            }
        }
    }
    Ok(text)
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

fn answers(status: &Status) -> Table {
    let mut answers = table(["PATH", "TYPE", "OUTCOME", "COUNT"]);
    for row in status.answers_by_type.iter().filter(|row| row.count > 0) {
        answers.add_row([&row.path, &row.qtype, &row.outcome, &row.count.to_string()]);
    }
    for (path, count) in &status.answers {
        answers.add_row([path, "all", "all", &count.to_string()]);
    }
    numbers(&mut answers, &[3]);
    answers
}

fn passes(status: &Status) -> Table {
    let mut passes = table(["REASON", "KERNEL", "AGENT"]);
    for (reason, count) in &status.passes {
        let own = status.agent_passes.get(reason).copied().unwrap_or_default();
        passes.add_row([reason, &count.to_string(), &own.to_string()]);
    }
    numbers(&mut passes, &[1, 2]);
    passes
}

fn interfaces(status: &Status) -> Table {
    let mut interfaces = table(["INTERFACE", "INDEX", "MTU", "XDP", "TC"]);
    for interface in &status.interfaces {
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
            &interface.ifindex.to_string(),
            &interface.mtu.to_string(),
            &Printable(xdp).to_string(),
            &Printable(tc).to_string(),
        ]);
    }
    numbers(&mut interfaces, &[1, 2]);
    interfaces
}

fn maps(status: &Status) -> Table {
    let mut maps = table(["MAP", "ENTRIES", "CAPACITY", "BYTES"]);
    for (map, usage) in &status.maps {
        maps.add_row([
            map,
            &usage.entries.to_string(),
            &usage.capacity.to_string(),
            &usage.bytes.to_string(),
        ]);
    }
    numbers(&mut maps, &[1, 2, 3]);
    maps
}

/// The head of the lines of [`name`].
pub(super) fn names_head() -> String {
    row("NAME", "MAP", "KERNEL", "FLAGS", "ADDRESSES")
}

/// A line for the name as the index has it, and one more where the kernel has it otherwise.
/// Columns have fixed widths, so that the first line can be shown before the last is known.
pub(super) fn name(name: &Name) -> String {
    let state = match (&name.index, &name.kernel, name.current) {
        (_, _, true) => "current",
        (Some(_), None, _) => "missing",
        (None, Some(_), _) => "stale",
        _ => "differs",
    };
    let mut text = String::new();
    if let Some(shown) = name.index.as_ref().or(name.kernel.as_ref()) {
        text += &data_row(&name.name, &name.map, state, shown);
    }
    // The kernel's data, below the index's.
    if let (Some(_), Some(kernel), false) = (&name.index, &name.kernel, name.current) {
        let damage = kernel.damage.as_deref().unwrap_or("has");
        text += &data_row("", "", damage, kernel);
    }
    text
}

fn data_row(name: &str, map: &str, state: &str, data: &Data) -> String {
    let ipv4 = data.ipv4.iter().map(ToString::to_string);
    let addresses = ipv4.chain(data.ipv6.iter().map(ToString::to_string));
    let shown = list(addresses.take(ADDRESSES_SHOWN_MAX));
    let number = data.ipv4.len() + data.ipv6.len();
    let shown = match number.saturating_sub(ADDRESSES_SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    };
    row(name, map, state, &data.flags.join(","), &shown)
}

fn row(name: &str, map: &str, state: &str, flags: &str, addresses: &str) -> String {
    let name = Printable(name).to_string();
    let line = format!("{name:<44} {map:<12} {state:<8} {flags:<10} {addresses}");
    line.trim_end().to_owned() + "\n"
}
