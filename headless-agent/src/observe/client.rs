//! The commands `status` and `dump`: they ask the running agent and print its answer.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Collected, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::dump::Name;
use super::operator::{DUMP, STATUS, Unfinished};
use super::status::Status;
use super::tables;
pub use super::tables::View;

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
#[derive(Clone, Debug)]
pub struct Ask {
    /// The path of the agent's admin socket.
    pub socket: PathBuf,
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

/// Prints the status. The table needs two looks at the agent, JSON one: the agent itself keeps
/// no rates, so they cost nothing while nobody asks.
///
/// # Errors
/// Where no agent answers at the socket, as for [`dump`].
pub async fn status(ask: &Ask, view: &View, out: &mut impl Write) -> anyhow::Result<()> {
    let body = status_body(ask).await?;
    let text = match ask.output {
        Output::Json => reindent(&body)?,
        Output::Table => {
            let mut before = None;
            let mut now = parse::<Status>(&body)?;
            if !view.interval.is_zero() {
                tokio::time::sleep(view.interval).await;
                before = Some(now);
                now = parse(&status_body(ask).await?)?;
            }
            tables::status(&now, before.as_ref(), view)?
        }
    };
    Ok(out.write_all(text.as_bytes())?)
}

async fn status_body(ask: &Ask) -> anyhow::Result<Bytes> {
    let body = get(&ask.socket, STATUS).await?.collect().await;
    Ok(body.with_context(|| broke_off(&ask.socket))?.to_bytes())
}

/// Prints the names, each as soon as it comes.
///
/// # Errors
/// Where the agent does not send all names, and where the one name that is asked for does not
/// exist.
pub async fn dump(ask: &Ask, names: &Names, out: &mut impl Write) -> anyhow::Result<()> {
    let Names { name, differing } = names;
    let path = match name {
        Some(name) => format!("{DUMP}?name={}", encode_query(name)),
        None => DUMP.into(),
    };
    let mut body = get(&ask.socket, &path).await?;
    let mut printer = Printer::new(ask.output);
    let (mut line, mut any) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let frame = frame.with_context(|| broke_off(&ask.socket))?;
        for piece in frame
            .data_ref()
            .into_iter()
            .flat_map(|data| data.split_inclusive(|byte| *byte == b'\n'))
        {
            line.extend(piece);
            if line.ends_with(b"\n") {
                let name = read(&line)?;
                any = true;
                if !differing || !name.current {
                    printer.name(&name, out)?;
                }
                line.clear();
            }
        }
    }
    if let Some(name) = name
        && !any
    {
        bail!("neither the agent nor the kernel has a name {name}");
    }
    printer.end(out)?;
    Ok(())
}

/// Prints names one by one.
struct Printer {
    output: Output,
    first: bool,
}

impl Printer {
    fn new(output: Output) -> Self {
        let first = true;
        Self { output, first }
    }

    fn name(&mut self, name: &Name, out: &mut impl Write) -> anyhow::Result<()> {
        let first = std::mem::take(&mut self.first);
        match self.output {
            Output::Table => {
                let head = if first {
                    tables::names::head()
                } else {
                    String::new()
                };
                write!(out, "{head}{}", tables::names::name(name))?;
            }
            Output::Json => {
                out.write_all(if first { b"[\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *out, name).map_err(io::Error::from)?;
            }
        }
        Ok(())
    }

    fn end(self, out: &mut impl Write) -> io::Result<()> {
        match (self.output, self.first) {
            (Output::Table, true) => out.write_all(tables::names::head().as_bytes()),
            (Output::Table, false) => Ok(()),
            (Output::Json, true) => out.write_all(b"[]\n"),
            (Output::Json, false) => out.write_all(b"\n]\n"),
        }
    }
}

/// A line of a dump.
fn read(line: &[u8]) -> anyhow::Result<Name> {
    parse(line).or_else(|error| match parse::<Unfinished>(line) {
        Ok(Unfinished { error }) => bail!("the agent could not go on: {error}"),
        Err(_) => Err(error),
    })
}

fn broke_off(socket: &Path) -> String {
    format!("the agent at {} broke off", socket.display())
}

/// Connects to the agent's socket. The error says what to do.
async fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    let shown = socket.display();
    UnixStream::connect(socket).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => {
                "there is no such socket: is an agent running here, in the same container, with \
                 the same --admin-socket?"
            }
            ErrorKind::PermissionDenied => "only the agent's user may ask it, in a pod root",
            ErrorKind::ConnectionRefused => "its agent has ended",
            _ => "is an agent running?",
        };
        anyhow::Error::new(error).context(format!("cannot reach an agent at {shown}: {hint}"))
    })
}

/// The body of a successful answer of the agent.
async fn get(socket: &Path, path: &str) -> anyhow::Result<Incoming> {
    let stream = TokioIo::new(connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    // The body tells of the connection's errors.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "headless");
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await;
    let response = response.with_context(|| broke_off(socket))?;
    let status = response.status();
    let body = response.into_body();
    if status == StatusCode::OK {
        return Ok(body);
    }
    let text = body.collect().await.map(Collected::to_bytes);
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    bail!(
        "the agent at {} says {status}: {}",
        socket.display(),
        text.trim()
    )
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
