//! The commands `status` and `dump`: they ask the running agent and print its answer.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;

use super::dump::{Data, Name};
use super::status::Status;
use crate::datapath::snapshot::{Program, ProgramState};

/// Addresses that a line of `dump` shows.
const ADDRESSES_SHOWN_MAX: usize = 4;

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The agent that is asked, and the form of the output.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The agent's admin endpoint.
    pub admin: SocketAddr,
    /// The form of the output.
    pub output: Output,
}

/// The names that `dump` prints.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Only this one, with or without `svc.<zone>`.
    pub name: Option<String>,
    /// Only names that the kernel does not have as the index has them.
    pub differing: bool,
}

/// The output of `status`.
pub async fn status(ask: Ask) -> anyhow::Result<String> {
    let body = get(ask.admin, "/status.json").await?;
    match ask.output {
        Output::Json => reindent(&body),
        Output::Table => Ok(status_table(&parse(&body)?)?),
    }
}

/// The output of `dump`.
pub async fn dump(ask: Ask, names: &Names) -> anyhow::Result<String> {
    let Ask { admin, output } = ask;
    let Names { name, differing } = names;
    let path = match name {
        Some(name) => format!("/dump.json?name={}", encode_query(name)),
        None => "/dump.json".into(),
    };
    let mut names: Vec<Name> = parse(&get(admin, &path).await?)?;
    if *differing {
        names.retain(|name| !name.current);
    }
    if let Some(name) = name
        && names.is_empty()
        && !differing
    {
        bail!("neither the agent nor the kernel has a name {name}");
    }
    match output {
        Output::Json => Ok(serde_json::to_string_pretty(&names)? + "\n"),
        Output::Table => Ok(dump_table(&names)),
    }
}

/// The body of a successful answer of the agent.
async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let uri: Uri = format!("http://{admin}{path}").parse()?;
    let request = Request::get(uri).body(Empty::<Bytes>::new())?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .request(request)
        .await
        .with_context(|| format!("cannot reach an agent at {admin}: is it running?"))?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body
        .with_context(|| format!("the agent at {admin} broke off"))?
        .to_bytes();
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&body);
        bail!("the agent at {admin} says {status}: {}", text.trim());
    }
    Ok(body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("the agent's answer is of another version")
}

fn reindent(body: &[u8]) -> anyhow::Result<String> {
    // Keeps the keys of a newer agent, which the type `Status` would drop.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_json::Value::deserialize(&mut deserializer)?;
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// Percent-encodes bytes that have a meaning in a query (RFC 3986, section 3.4).
fn encode_query(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

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

fn status_table(status: &Status) -> Result<String, fmt::Error> {
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
            writeln!(text, "\n{title}\n  {}", sentences.join("\n  "))?;
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
            ProgramState::Lifted => "lifted while the pod sends much",
            ProgramState::Unused => "not used",
            ProgramState::Uplink => "carries a default route, left alone",
            ProgramState::Foreign => "another program, left alone",
            ProgramState::Refused(reason) | ProgramState::Failed(reason) => reason,
        });
        interfaces.add_row([
            &interface.name,
            &interface.ifindex.to_string(),
            &interface.mtu.to_string(),
            xdp,
            tc,
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

fn dump_table(names: &[Name]) -> String {
    let mut table = table(["NAME", "MAP", "KERNEL", "FLAGS", "ADDRESSES"]);
    for name in names {
        let state = match (&name.index, &name.kernel, name.current) {
            (_, _, true) => "current",
            (Some(_), None, _) => "missing",
            (None, Some(_), _) => "stale",
            _ => "differs",
        };
        let shown = name.index.as_ref().or(name.kernel.as_ref());
        add_data(&mut table, &name.name, &name.map, state, shown);
        // The kernel's data, below the index's.
        if let (Some(_), Some(kernel), false) = (&name.index, &name.kernel, name.current) {
            let damage = kernel.damage.as_deref().unwrap_or("has");
            add_data(&mut table, "", "", damage, Some(kernel));
        }
    }
    lines(&table) + "\n"
}

fn add_data(table: &mut Table, name: &str, map: &str, state: &str, data: Option<&Data>) {
    let Some(data) = data else { return };
    let addresses: Vec<String> = data
        .ipv4
        .iter()
        .map(ToString::to_string)
        .chain(data.ipv6.iter().map(ToString::to_string))
        .collect();
    let shown = list(addresses.iter().take(ADDRESSES_SHOWN_MAX));
    let shown = match addresses.len().saturating_sub(ADDRESSES_SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    };
    table.add_row([name, map, state, &data.flags.join(","), &shown]);
}
