//! A DNS client that measures round trips. It sends a query after the answer to the one
//! before.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The longest wait for an answer. No answer in this time is an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest message this client takes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Offset of the byte with the RCODE in its low bits (RFC 1035, section 4.1.1).
const RCODE_AT: usize = 3;
const RCODE_MASK: u8 = 0xf;

/// Offset of ANCOUNT in a message (RFC 1035, section 4.1.1).
const ANCOUNT_AT: usize = 6;

/// The expected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The RCODE in its header.
    pub(crate) code: ResponseCode,
    /// The number of its answer records.
    pub(crate) answers: u16,
}

/// Questions, their server, and the expected answers.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    server: SocketAddrV4,
    /// At least one query. The client sends them in turn.
    queries: Vec<Vec<u8>>,
    /// `None` when the query itself comes back.
    expected: Option<Expected>,
}

impl Target {
    /// One question to `server` for the A records of `name`, whose number is `answers`.
    ///
    /// # Errors
    /// When `name` is not a domain name.
    pub(crate) fn addresses(server: Ipv4Addr, name: &str, answers: u16) -> Result<Self> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii(name).with_context(|| format!("{name} is not a name"))?;
        message.add_query(Query::query(name, RecordType::A));
        let expected = Expected {
            code: ResponseCode::NoError,
            answers,
        };
        Self::new(server, &[message], expected)
    }

    /// Questions to `server`, all with the same kind of answer.
    ///
    /// # Errors
    /// When there is no question, or one cannot be encoded.
    pub(crate) fn new(server: Ipv4Addr, queries: &[Message], expected: Expected) -> Result<Self> {
        ensure!(!queries.is_empty(), "no question for {server}");
        let queries = queries.iter().map(Message::to_vec);
        Ok(Self {
            server: SocketAddrV4::new(server, 53),
            queries: queries.collect::<Result<_, _>>()?,
            expected: Some(expected),
        })
    }

    /// The same questions, for a server that returns each message unchanged.
    pub(crate) fn reflected(&self) -> Self {
        Self {
            expected: None,
            ..self.clone()
        }
    }
}

/// A connected socket that asks one target.
#[derive(Debug)]
pub(crate) struct Client {
    socket: UdpSocket,
    queries: Vec<Vec<u8>>,
    /// Index of the latest query.
    current: usize,
    expected: Option<Expected>,
    id: u16,
    buffer: Box<[u8; MESSAGE_BYTES_MAX]>,
}

impl Client {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When there is no route to the target.
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket
            .connect(target.server)
            .with_context(|| format!("cannot ask {}", target.server))?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            queries: target.queries.clone(),
            current: 0,
            expected: target.expected,
            id: 0,
            buffer: Box::new([0; MESSAGE_BYTES_MAX]),
        })
    }

    /// Asks and returns the addresses in the answer, whatever their number.
    ///
    /// # Errors
    /// When no answer comes in time, or its RCODE is not NOERROR.
    pub(crate) fn ask(&mut self) -> Result<Vec<Ipv4Addr>> {
        let length = self.exchange()?;
        let message = Message::from_vec(self.buffer.get(..length).unwrap_or_default())
            .context("the answer is not a DNS message")?;
        let code = message.metadata.response_code;
        ensure!(code == ResponseCode::NoError, "the answer is {code}");
        Ok(message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(address) => Some(address.0),
                _ => None,
            })
            .collect())
    }

    /// Measures `count` round trips, in nanoseconds.
    ///
    /// # Errors
    /// When no answer comes in time, or an answer is not the expected one.
    pub(crate) fn measure(&mut self, count: u32) -> Result<Histogram<u64>> {
        let mut histogram = Histogram::new(3)?;
        for _ in 0..count {
            let start = Instant::now();
            let length = self.exchange()?;
            let elapsed = start.elapsed();
            self.check(length)?;
            histogram.record(u64::try_from(elapsed.as_nanos())?)?;
        }
        Ok(histogram)
    }

    /// Sends the next query with a new id and waits for the message with that id.
    fn exchange(&mut self) -> Result<usize> {
        self.id = self.id.wrapping_add(1);
        let id = self.id.to_be_bytes();
        self.current = (self.current + 1) % self.queries.len();
        let query = self
            .queries
            .get_mut(self.current)
            .context("there is no question")?;
        if let Some(at) = query.first_chunk_mut() {
            *at = id;
        }
        self.socket.send(query).context("cannot send a query")?;
        loop {
            let length = match self.socket.recv(self.buffer.as_mut_slice()) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    bail!("no answer within {} s", ANSWER_TIMEOUT.as_secs())
                }
                Err(error) => return Err(error).context("cannot receive an answer"),
            };
            if self.buffer.first_chunk() == Some(&id) {
                return Ok(length);
            }
        }
    }

    fn check(&self, length: usize) -> Result<()> {
        let message = self.buffer.get(..length).unwrap_or_default();
        let Some(expected) = self.expected else {
            let query = self.queries.get(self.current);
            ensure!(
                query.is_some_and(|query| message == query),
                "what came back is not the query"
            );
            return Ok(());
        };
        let code = message.get(RCODE_AT).map(|byte| byte & RCODE_MASK);
        ensure!(
            code == Some(expected.code.low()),
            "an answer has RCODE {}, not {}",
            code.unwrap_or_default(),
            expected.code.low()
        );
        let count = message.get(ANCOUNT_AT..).and_then(<[u8]>::first_chunk);
        let count = count.copied().map(u16::from_be_bytes);
        ensure!(
            count == Some(expected.answers),
            "an answer has {} records, not {}",
            count.unwrap_or_default(),
            expected.answers
        );
        Ok(())
    }
}

/// The CPUs that this process may use.
pub(crate) fn allowed_cpus() -> Result<CpuSet> {
    Ok(sched_getaffinity(Pid::from_raw(0))?)
}

/// The first of `cpus`, alone.
///
/// # Errors
/// When the set is empty.
pub(crate) fn first_cpu(cpus: &CpuSet) -> Result<CpuSet> {
    let first = (0..CpuSet::count())
        .find(|cpu| cpus.is_set(*cpu).unwrap_or(false))
        .context("no CPU to run on")?;
    let mut only = CpuSet::new();
    only.set(first)?;
    Ok(only)
}

/// Lets every thread of the process `pid` run on `cpus` only.
///
/// # Errors
/// When there is no such process.
pub(crate) fn pin_process(pid: Pid, cpus: &CpuSet) -> Result<()> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("no process {pid}"))?;
    for thread in threads {
        let id = thread?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(id), cpus)?;
    }
    Ok(())
}

/// Lets the calling thread run on `cpus` only.
pub(crate) fn pin_thread(cpus: &CpuSet) -> Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), cpus)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;
    use std::net::SocketAddr;
    use std::thread::{self, JoinHandle};

    const NAME: &str = "nginx-headless.default.svc.cluster.local";

    /// Serves one query on loopback: `reply` gives the messages to send back.
    fn serve(reply: fn(&Message) -> Vec<Vec<u8>>) -> (SocketAddrV4, JoinHandle<()>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
            panic!("not IPv4");
        };
        let thread = thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            assert_eq!(query.queries[0].query_type(), RecordType::A);
            for message in reply(&query) {
                socket.send_to(&message, client).unwrap();
            }
        });
        (address, thread)
    }

    fn two_addresses(query: &Message) -> Message {
        let mut message = query.clone();
        message.metadata.message_type = MessageType::Response;
        for last in [22, 23] {
            let data = RData::A(A(Ipv4Addr::new(10, 0, 0, last)));
            let name = query.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 30, data));
        }
        message
    }

    fn target(server: SocketAddrV4, answers: u16) -> Target {
        let target = Target::addresses(Ipv4Addr::LOCALHOST, NAME, answers).unwrap();
        Target { server, ..target }
    }

    #[test]
    fn answer_with_another_id_is_not_taken() {
        let (server, thread) = serve(|query| {
            let mut stale = query.clone();
            stale.metadata.id = query.metadata.id.wrapping_sub(1);
            vec![
                stale.to_vec().unwrap(),
                two_addresses(query).to_vec().unwrap(),
            ]
        });
        let answer = Client::new(&target(server, 2)).unwrap().ask().unwrap();
        assert_eq!(answer, [[10, 0, 0, 22], [10, 0, 0, 23]].map(Ipv4Addr::from));
        thread.join().unwrap();
    }

    #[test]
    fn one_round_trip_is_measured() {
        let (server, thread) = serve(|query| vec![two_addresses(query).to_vec().unwrap()]);
        let mut client = Client::new(&target(server, 2)).unwrap();
        assert_eq!(client.measure(1).unwrap().len(), 1);
        thread.join().unwrap();
    }

    #[test]
    fn wrong_number_of_answers_is_an_error() {
        let (server, thread) = serve(|query| vec![two_addresses(query).to_vec().unwrap()]);
        let mut client = Client::new(&target(server, 3)).unwrap();
        let error = client.measure(1).unwrap_err().to_string();
        assert_eq!(error, "an answer has 2 records, not 3");
        thread.join().unwrap();
    }

    #[test]
    fn another_rcode_is_an_error() {
        let (server, thread) = serve(|query| {
            let mut message = two_addresses(query);
            message.metadata.response_code = ResponseCode::NXDomain;
            vec![message.to_vec().unwrap()]
        });
        let mut client = Client::new(&target(server, 2)).unwrap();
        let error = client.measure(1).unwrap_err().to_string();
        assert_eq!(error, "an answer has RCODE 3, not 0");
        thread.join().unwrap();
    }

    #[test]
    fn reflection_must_be_the_query() {
        let (server, thread) = serve(|query| vec![query.to_vec().unwrap()]);
        let reflected = target(server, 2).reflected();
        Client::new(&reflected).unwrap().measure(1).unwrap();
        thread.join().unwrap();

        let (server, thread) = serve(|query| vec![two_addresses(query).to_vec().unwrap()]);
        let reflected = target(server, 2).reflected();
        assert!(Client::new(&reflected).unwrap().measure(1).is_err());
        thread.join().unwrap();
    }

    #[test]
    fn one_of_the_allowed_cpus() {
        let all = allowed_cpus().unwrap();
        let one = first_cpu(&all).unwrap();
        let count = |set: &CpuSet| {
            (0..CpuSet::count())
                .filter(|cpu| set.is_set(*cpu).unwrap())
                .count()
        };
        assert_eq!(count(&one), 1);
        assert!(count(&all) >= 1);
        assert!(first_cpu(&CpuSet::new()).is_err());
    }
}
