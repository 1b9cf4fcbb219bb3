//! The other tenant: its objects, its questions, and the fate of each question.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use headless_tests::control_plane::objects::{Cluster, bare_slice, headless, service_in};
use headless_tests::decode;
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::node::{Client, Node, Pod};
use hickory_proto::op::{Message, ResponseCode};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

/// The tenant's namespace.
const NAMESPACE: &str = "prod";

/// The addresses of its endpoints.
pub(crate) const ADDRESSES: [&str; 3] = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];

/// The address that changes are timed by.
const EXTRA: &str = "10.1.0.99";

/// Headless Services beside `db`.
const SERVICES: usize = 40;

/// Longest wait for an answer that shows a change.
const DEADLINE: Duration = Duration::from_secs(20);

/// PTR (RFC 1035, section 3.2.2).
const PTR: u16 = 12;

/// The right answer to a question.
#[derive(Clone, Debug)]
enum Expected {
    Addresses(Vec<IpAddr>),
    /// As many SRV records.
    Targets(usize),
    Name(String),
    NoData,
    NxDomain,
}

/// A question with its right answer.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    query: Query,
    expected: Expected,
}

/// Creates the objects. Returns the questions about them.
pub(crate) async fn create(cluster: &Cluster) -> Vec<Question> {
    cluster.create_namespace(NAMESPACE).await;
    let db = json!({
        "clusterIP": "None",
        "selector": { "app": "db" },
        "ports": [{ "name": "http", "port": 8080 }],
    });
    cluster.create(&service_in(NAMESPACE, "db", &db)).await;
    let endpoints = [0, 1, 2].map(|i| (ADDRESSES[i], Some(["db-0", "db-1", "db-2"][i])));
    cluster.create(&headless_slice("db", &endpoints)).await;
    cluster
        .create(&service_in(NAMESPACE, "timed", &headless()))
        .await;
    cluster
        .create(&headless_slice("timed", &[(ADDRESSES[0], None)]))
        .await;
    let web = json!({ "clusterIP": "10.96.7.7", "ports": [{ "name": "http", "port": 80 }] });
    cluster.create(&service_in(NAMESPACE, "web", &web)).await;
    let names = (0..SERVICES).map(|i| format!("s{i}"));
    let services = names
        .clone()
        .map(|name| service_in(NAMESPACE, &name, &headless()));
    cluster.create_all(services.collect()).await;
    let slices = names
        .enumerate()
        .map(|(i, name)| headless_slice(&name, &[(format!("10.2.0.{}", i + 1).as_str(), None)]));
    cluster.create_all(slices.collect()).await;
    questions()
}

fn headless_slice(service: &str, endpoints: &[(&str, Option<&str>)]) -> EndpointSlice {
    let mut slice = bare_slice(NAMESPACE, &format!("{service}-1"), service, endpoints);
    let labels = slice.metadata.labels.get_or_insert_default();
    labels.insert("service.kubernetes.io/headless".into(), String::new());
    headless_tests::control_plane::objects::managed(&mut slice);
    slice
}

fn questions() -> Vec<Question> {
    let addresses = |texts: &[&str]| {
        Expected::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
    };
    let of = |name: &str, qtype, expected| Question {
        query: Query::new(&format!("{name}.{NAMESPACE}.svc.cluster.local"), qtype),
        expected,
    };
    let mut all = vec![
        of("db", qtype::A, addresses(&ADDRESSES)),
        of("db-1.db", qtype::A, addresses(&ADDRESSES[1..2])),
        of("db", qtype::AAAA, Expected::NoData),
        of("nope", qtype::A, Expected::NxDomain),
        of("nope.db", qtype::A, Expected::NxDomain),
        of("_http._tcp.db", qtype::SRV, Expected::Targets(3)),
        of("web", qtype::A, addresses(&["10.96.7.7"])),
        of("_http._tcp.web", qtype::SRV, Expected::Targets(1)),
        // The first name of a search list.
        of("example.com", qtype::A, Expected::NxDomain),
        Question {
            query: Query::new("7.7.96.10.in-addr.arpa", PTR),
            expected: Expected::Name(format!("web.{NAMESPACE}.svc.cluster.local.")),
        },
    ];
    all.extend((0..SERVICES).map(|i| {
        let address = format!("10.2.0.{}", i + 1);
        of(&format!("s{i}"), qtype::A, addresses(&[&address]))
    }));
    all
}

/// Whether a message is the right answer.
fn is_right(message: &Message, expected: &Expected) -> bool {
    let (code, answers) = (message.metadata.response_code, &message.answers);
    match expected {
        Expected::Addresses(addresses) => {
            let mut found = decode::addresses(answers);
            found.sort_unstable();
            code == ResponseCode::NoError && found == *addresses
        }
        Expected::Targets(count) => code == ResponseCode::NoError && answers.len() == *count,
        Expected::Name(name) => matches!(&**answers, [only] if only.data.to_string() == *name),
        Expected::NoData => code == ResponseCode::NoError && answers.is_empty(),
        Expected::NxDomain => code == ResponseCode::NXDomain && answers.is_empty(),
    }
}

/// Whether the programs leave A of this name to the cluster's DNS.
pub(crate) fn passes(pod: &Pod, name: &str) -> bool {
    let client = pod.client();
    client.send(&Query::new(name, qtype::A));
    client.receive().is_some_and(|reply| is_passed(&reply))
}

/// Whether a reply is of [`ClusterDns`].
fn is_passed(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 0x04 == 0)
}

/// How many questions had which fate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: u64,
    /// Answered in the kernel.
    pub(crate) kernel: u64,
    /// Passed to the cluster's DNS.
    pub(crate) passed: u64,
    /// Without any reply.
    pub(crate) lost: u64,
    /// The first wrong answers.
    pub(crate) wrong: Vec<String>,
    /// Names of passed questions, the first ones.
    passes: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.kernel as f64 / self.asked.max(1) as f64;
        write!(
            f,
            "{} asked, {share:.2} % answered in the kernel, {} passed, {} lost, {} wrong",
            self.asked,
            self.passed,
            self.lost,
            self.wrong.len(),
        )?;
        if !self.passes.is_empty() {
            write!(f, " (passed: {})", self.passes.join(", "))?;
        }
        Ok(())
    }
}

impl Tally {
    fn ask(&mut self, client: &Client, question: &Question, id: u16) {
        let Question { query, expected } = question;
        let query = Query {
            id,
            ..query.clone()
        };
        self.asked += 1;
        client.send(&query);
        let sent = query.message();
        let Some(reply) = client.receive() else {
            self.lost += 1;
            return;
        };
        let shown = || {
            let name = query.name.iter().map(|byte| match byte {
                b'!'..=b'~' => char::from(*byte),
                _ => '.',
            });
            format!("{} {}", name.collect::<String>(), query.qtype)
        };
        if is_passed(&reply) {
            self.passed += 1;
            if self.passes.len() < 8 && !self.passes.contains(&shown()) {
                self.passes.push(shown());
            }
            return;
        }
        self.kernel += 1;
        let message = decode::message(&sent, &reply);
        if !is_right(&message, expected) && self.wrong.len() < 8 {
            self.wrong.push(format!("{}: {message:?}", shown()));
        }
    }
}

/// Asks all questions in turn, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// Time between two questions: two CPUs are enough for agent, API server and client.
const PAUSE: Duration = Duration::from_micros(500);

impl Asking {
    pub(crate) fn start(pod: &Pod, questions: &[Question]) -> Self {
        let (client, questions) = (pod.client(), questions.to_vec());
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut tally = Tally::default();
            for (id, question) in (0_usize..).zip(questions.iter().cycle()) {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                tally.ask(&client, question, id as u16);
                thread::sleep(PAUSE);
            }
            tally
        });
        Self { stop, thread }
    }

    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || self.thread.join().unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn during(self, time: Duration) -> Tally {
        tokio::time::sleep(time).await;
        self.stop().await
    }
}

/// Times from the API server's acknowledgement of a change to the first answer that shows it.
#[derive(Debug)]
pub(crate) struct Delays(Vec<Duration>);

impl Delays {
    /// Adds and removes an endpoint of the Service `timed`, in turns.
    pub(crate) async fn measure(cluster: &Cluster, pod: &Pod, changes: usize) -> Self {
        let query = Query::new(&format!("timed.{NAMESPACE}.svc.cluster.local"), qtype::A);
        let client = Arc::new(pod.client());
        let mut delays = Vec::new();
        for i in 0..changes {
            let addresses: &[&str] = if i % 2 == 0 {
                &[ADDRESSES[0], EXTRA]
            } else {
                &[ADDRESSES[0]]
            };
            let endpoints: Vec<_> = addresses
                .iter()
                .map(|address| json!({ "addresses": [address] }))
                .collect();
            let change = json!({ "endpoints": endpoints });
            cluster
                .patch::<EndpointSlice>(NAMESPACE, "timed-1", &change)
                .await;
            let written = Instant::now();
            let (client, query, expected) = (Arc::clone(&client), query.clone(), addresses.len());
            let shown = move || shows(&client, &query, expected);
            tokio::task::spawn_blocking(shown).await.unwrap();
            delays.push(written.elapsed());
        }
        delays.sort_unstable();
        Self(delays)
    }

    fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len() - 1;
        1000.0 * self.0[(last as f64 * part).round() as usize].as_secs_f64()
    }
}

/// Asks until the answer has so many addresses.
fn shows(client: &Client, query: &Query, expected: usize) {
    let begun = Instant::now();
    loop {
        client.send(query);
        let reply = client.receive().expect("a reply");
        let message = Message::from_vec(&reply).unwrap();
        if message.answers.len() == expected {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "a change is not answered");
        thread::sleep(Duration::from_micros(200));
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| self.quantile(part));
        write!(
            f,
            "p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms of {} changes",
            self.0.len()
        )
    }
}

/// A stand-in for the cluster's DNS, which sends every query back as a response without
/// records and without AA.
#[derive(Debug)]
pub(crate) struct ClusterDns {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ClusterDns {
    pub(crate) fn start(node: &Node) -> Self {
        let socket = node.run(|| Ok(UdpSocket::bind((SERVER, 53))?)).unwrap();
        let timeout = Some(Duration::from_millis(100));
        socket.set_read_timeout(timeout).unwrap();
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopping.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    buffer[2] |= 0x80;
                    socket.send_to(&buffer[..len], from).unwrap();
                }
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
