//! A DNS client in a pod's or the node's network namespace: this binary, started there, with
//! the questions on its standard input and the results on its standard output.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, ChildStdin, Stdio};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};

use super::session;

/// A query without an answer in this time is lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Largest answer that is taken.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The zone whose records have the server's own TTL. Others' TTL counts down in `CoreDNS`'s
/// cache, reverse names' too: kubeadm's Corefile excepts the zone alone from the cache.
const ZONE: &str = "cluster.local.";

/// What to ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Questions {
    pub(super) server: Ipv4Addr,
    /// Names and types, which are asked in turn.
    pub(super) names: Vec<(String, String)>,
    /// Queries in all. It ends before, when it is told to.
    pub(super) count: u64,
    /// Time from an answer to the next query.
    pub(super) pause: Duration,
    /// The right answers, one for each name. Empty where any is right.
    pub(super) expected: Vec<String>,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) asked: u64,
    /// Queries without an answer.
    pub(super) lost: u64,
    /// Answers that were not as expected.
    pub(super) wrong: u64,
    /// The first of the wrong answers, and what was expected.
    pub(super) first_wrong: Option<String>,
    /// Round trip in nanoseconds: median, 99 %.
    pub(super) p50: u64,
    pub(super) p99: u64,
    /// The latest answer to each name, in one form: sorted, without the SOA's serial.
    pub(super) answers: Vec<String>,
}

/// A client that asks until it is stopped.
#[derive(Debug)]
pub(super) struct Asking {
    child: Child,
    /// The client ends when this is closed.
    stdin: ChildStdin,
}

impl Asking {
    /// Starts a client in the network namespace of the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(process: i32, questions: &Questions) -> Result<Self> {
        let this = std::env::current_exe()?;
        let mut child = session::in_network_of(process, &this)
            .args(["cluster", "ask"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a client")?;
        let mut stdin = child.stdin.take().context("the client has no input")?;
        let mut line = serde_json::to_string(questions)?;
        line.push('\n');
        stdin.write_all(line.as_bytes())?;
        Ok(Self { child, stdin })
    }

    /// Waits until all is asked.
    ///
    /// # Errors
    /// When the client fails.
    pub(super) fn finish(self) -> Result<Results> {
        let Self { child, stdin } = self;
        let results = results(child);
        drop(stdin);
        results
    }

    /// Ends the client.
    ///
    /// # Errors
    /// When the client fails.
    pub(super) fn stop(self) -> Result<Results> {
        let Self { child, stdin } = self;
        drop(stdin);
        results(child)
    }
}

fn results(child: Child) -> Result<Results> {
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "the client failed: {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("cannot understand the client's results")
}

/// Asks each name once and returns the answers.
///
/// # Errors
/// When an answer is missing.
pub(super) fn once(
    process: i32,
    server: Ipv4Addr,
    names: &[(String, String)],
) -> Result<Vec<String>> {
    let results = Asking::start(
        process,
        &Questions {
            server,
            names: names.to_vec(),
            count: u64::try_from(names.len())?,
            pause: Duration::ZERO,
            expected: Vec::new(),
        },
    )?
    .finish()?;
    ensure!(
        results.lost == 0,
        "{} of {} queries got no answer",
        results.lost,
        results.asked
    );
    Ok(results.answers)
}

/// The client itself.
pub(super) fn run() -> Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let questions: Questions =
        serde_json::from_str(&line).context("cannot understand the questions")?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    thread::spawn(move || {
        let mut rest = Vec::new();
        io::stdin().lock().read_to_end(&mut rest).ok();
        stop.store(true, Ordering::Relaxed);
    });
    let results = ask(&questions, &stopped)?;
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}

fn ask(questions: &Questions, stopped: &AtomicBool) -> Result<Results> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((questions.server, 53))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let queries = questions.names.iter().map(|(name, kind)| query(name, kind));
    let mut queries = queries.collect::<Result<Vec<_>>>()?;
    ensure!(!queries.is_empty(), "no question");
    let mut results = Results {
        answers: vec![String::new(); queries.len()],
        ..Results::default()
    };
    let mut times = Histogram::<u64>::new(3)?;
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let mut current = 0;
    while results.asked < questions.count && !stopped.load(Ordering::Relaxed) {
        let id = (results.asked as u16).to_be_bytes();
        results.asked += 1;
        if let Some(query) = queries.get_mut(current) {
            if let Some(at) = query.first_chunk_mut() {
                *at = id;
            }
            let start = Instant::now();
            match exchange(&socket, query, id, &mut buffer)? {
                None => results.lost += 1,
                Some(length) => {
                    times.record(u64::try_from(start.elapsed().as_nanos())?)?;
                    let answer = shown(buffer.get(..length).unwrap_or_default())?;
                    results.take(current, answer, &questions.expected);
                }
            }
        }
        current = (current + 1) % queries.len();
        thread::sleep(questions.pause);
    }
    (results.p50, results.p99) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
    Ok(results)
}

impl Results {
    fn take(&mut self, current: usize, answer: String, expected: &[String]) {
        if let Some(expected) = expected
            .get(current)
            .filter(|expected| **expected != answer)
        {
            self.wrong += 1;
            self.first_wrong
                .get_or_insert_with(|| format!("{answer} instead of {expected}"));
        }
        if let Some(at) = self.answers.get_mut(current) {
            *at = answer;
        }
    }
}

fn query(name: &str, kind: &str) -> Result<Vec<u8>> {
    let name = Name::from_ascii(name).with_context(|| format!("{name} is not a name"))?;
    let kind = RecordType::from_str(kind).with_context(|| format!("{kind} is not a type"))?;
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    Ok(message.to_vec()?)
}

/// Sends a query and waits for the answer with its id: `None` when it is lost.
fn exchange(
    socket: &UdpSocket,
    query: &[u8],
    id: [u8; 2],
    buffer: &mut [u8],
) -> Result<Option<usize>> {
    let deadline = Instant::now() + TIMEOUT;
    socket.send(query).context("cannot send a query")?;
    while Instant::now() < deadline {
        match socket.recv(buffer) {
            Ok(length) if buffer.first_chunk() == Some(&id) => return Ok(Some(length)),
            Ok(_) => {}
            // An ICMP error is a lost query too: nobody answers.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("cannot receive an answer"),
        }
    }
    Ok(None)
}

/// A message in a form that does not depend on the order of records, on how long a record has
/// been in a cache, and on the time of the zone's latest change.
fn shown(message: &[u8]) -> Result<String> {
    let message = Message::from_vec(message).context("the answer is not a DNS message")?;
    let flags = &message.metadata;
    let question = message.queries.first().map(|query| {
        let (name, kind) = (query.name(), query.query_type());
        format!("{name} {kind}")
    });
    let mut text = format!(
        "{}: {} aa={} ra={} tc={}",
        question.unwrap_or_default(),
        flags.response_code,
        flags.authoritative,
        flags.recursion_available,
        flags.truncation
    );
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    // The records of one message have one TTL in `CoreDNS`'s cache.
    let mut all = sections.iter().flat_map(|(_, records)| records.iter());
    let cached = !all.all(|record| record.name.to_string().to_ascii_lowercase().ends_with(ZONE));
    for (section, records) in sections {
        let mut lines: Vec<_> = records
            .iter()
            .map(|one| shown_record(one, cached))
            .collect();
        lines.sort();
        for line in lines {
            text.extend(["; ", section, " ", &line]);
        }
    }
    Ok(text)
}

fn shown_record(record: &Record, cached: bool) -> String {
    let ttl = if cached { 0 } else { record.ttl };
    let data = match &record.data {
        RData::SOA(soa) => format!("SOA {} {}", soa.mname, soa.rname),
        data => format!("{} {data}", record.record_type()),
    };
    format!("{} {ttl} {data}", record.name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use hickory_proto::rr::rdata::{A, SOA};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(records: &[(&str, u32, RData)]) -> String {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        for (owner, ttl, data) in records {
            message.add_answer(Record::from_rdata(name(owner), *ttl, data.clone()));
        }
        shown(&message.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn order_does_not_count_and_addresses_do() {
        let a = |last| RData::A(A(Ipv4Addr::new(10, 0, 0, last)));
        let owner = "a.svc.cluster.local.";
        let one = answer(&[(owner, 30, a(1)), (owner, 30, a(2))]);
        assert_eq!(one, answer(&[(owner, 30, a(2)), (owner, 30, a(1))]));
        assert_ne!(one, answer(&[(owner, 30, a(1)), (owner, 30, a(3))]));
        assert_ne!(one, answer(&[(owner, 30, a(1)), (owner, 29, a(2))]));
        let outside = |ttl| answer(&[(owner, ttl, a(2)), ("a.example.", ttl, a(1))]);
        assert_eq!(outside(30), outside(29));
    }

    #[test]
    fn serials_do_not_count() {
        let soa = |serial| {
            let (server, mail) = (name("ns.dns.cluster.local."), name("h.cluster.local."));
            RData::SOA(SOA::new(server, mail, serial, 1, 1, 1, 1))
        };
        let zone = "cluster.local.";
        assert_eq!(answer(&[(zone, 30, soa(1))]), answer(&[(zone, 30, soa(2))]));
    }

    #[test]
    fn a_wrong_answer_is_counted_and_shown() {
        let mut results = Results {
            answers: vec![String::new()],
            ..Results::default()
        };
        let expected = ["a".to_owned()];
        results.take(0, "a".to_owned(), &expected);
        results.take(0, "b".to_owned(), &expected);
        assert_eq!(results.wrong, 1);
        assert_eq!(results.first_wrong.as_deref(), Some("b instead of a"));
        results.take(0, "c".to_owned(), &[]);
        assert_eq!((results.wrong, results.answers), (1, vec!["c".to_owned()]));
    }
}
