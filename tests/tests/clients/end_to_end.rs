//! The default mode end to end: a pod asks the served address, behind which the programs answer
//! and CoreDNS answers the rest. Each answer is compared with that of a CoreDNS asked directly.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use fastrand::Rng;
use headless_tests::agent::Agent;
use headless_tests::differential::client::Client;
use headless_tests::differential::cluster::{Change, Cluster};
use headless_tests::differential::compare;
use headless_tests::differential::coredns::Choices;
use headless_tests::differential::differences::{self, Exceptions, Finding};
use headless_tests::differential::generator::Generator;
use headless_tests::differential::message::{Decoded, Query};
use headless_tests::differential::questions::{self, Plain, Questions};
use headless_tests::node::Pod;
use headless_tests::served_node::{self, ServedNode};

use crate::counted::Counted;
use crate::shapes;

/// Services of the cluster.
const SERVICES: usize = 300;

/// Questions in each shape, before and after the cluster changes.
const QUESTIONS: usize = 100;

/// Questions in random shapes, before and after the cluster changes.
const UNUSUAL: usize = 600;

/// Questions with wrong bytes, before and after the cluster changes.
const MANGLED: usize = 60;

/// How often CoreDNS is asked again where answers differ.
const ASKED_AGAIN: usize = 50;

/// The least share of the plain questions in each shape that the kernel answers, in thousandths;
/// the usual share is 930. The random clusters have more Services than usual that the programs
/// leave to userspace, and by default the agent knows no endpoints of Services with cluster IPs.
const KERNEL_PERMILLE: u64 = 750;

/// Differences that are shown in full.
const SHOWN_MAX: usize = 40;

/// The questions of one shape.
#[derive(Debug, Default)]
struct Row {
    /// Plain questions, and the programs' counts of them.
    plain: u64,
    of_plain: Counted,
    /// All other questions, and the programs' counts of them.
    others: u64,
    of_others: Counted,
}

impl Row {
    /// The share of plain questions that the kernel answered, in thousandths.
    fn permille(&self) -> u64 {
        (self.of_plain.answers * 1000)
            .checked_div(self.plain)
            .unwrap_or(0)
    }

    fn line(&self, name: &str, clients: &str) -> String {
        let Self {
            plain,
            of_plain,
            others,
            of_others,
        } = self;
        let permille = self.permille();
        format!(
            "{name:<24} {plain:>5} plain, kernel {:>3}.{} %, passed {:?}; {others} others, kernel \
             {} ({clients})",
            permille / 10,
            permille % 10,
            of_plain.passes,
            of_others.answers,
        )
    }
}

/// A pod's view beside CoreDNS's, over one cluster.
struct Comparison<'a> {
    served: &'a ServedNode,
    agent: &'a Agent<'a>,
    client: &'a Client,
    exceptions: Exceptions,
    rows: BTreeMap<usize, Row>,
    rcodes: BTreeMap<u16, u64>,
    allowed: BTreeMap<&'static str, u64>,
    /// Answers that CoreDNS gave to the same question only when it was asked again.
    varying: u64,
    differing: Vec<String>,
}

impl Comparison<'_> {
    /// Asks questions about a cluster in every shape, and in random shapes.
    fn ask(&mut self, seed: u64, zone: &str, cluster: &Cluster) -> anyhow::Result<()> {
        self.exceptions = questions::exceptions(cluster);
        let plain = Plain::new(zone, cluster);
        let mut questions = Questions::new(seed, zone, cluster);
        for (number, shape) in shapes::ALL.iter().enumerate() {
            let mut queries = questions.queries(QUESTIONS);
            for query in &mut queries {
                shape.dress(query);
            }
            self.put(number, &queries, |query| plain.has(&query.name))?;
        }
        let queries = questions.queries(UNUSUAL);
        // The agent has no Corefile, so other classes are CoreDNS's.
        let is_plain = |query: &Query| query.qclass == 1 && plain.includes(query);
        self.put(shapes::ALL.len(), &queries, is_plain)?;
        let mut rng = Rng::with_seed(seed);
        for query in queries.iter().take(MANGLED) {
            let bytes = questions::mangled(query, &mut rng);
            let text = format!("mangled {} from {}", bytes.escape_ascii(), query.show());
            self.compare(&bytes, &text).context(text)?;
        }
        Ok(())
    }

    /// Asks the plain ones among the queries, then the others.
    fn put(
        &mut self,
        row: usize,
        queries: &[Query],
        is_plain: impl Fn(&Query) -> bool,
    ) -> anyhow::Result<()> {
        for asks_plain in [true, false] {
            let before = Counted::now(self.agent);
            let mut asked = 0;
            for query in queries.iter().filter(|query| is_plain(query) == asks_plain) {
                let text = query.show();
                self.compare(&query.bytes(), &text).context(text)?;
                asked += 1;
            }
            let counted = Counted::now(self.agent).since(&before);
            let row = self.rows.entry(row).or_default();
            if asks_plain {
                row.plain += asked;
                row.of_plain.add(counted);
            } else {
                row.others += asked;
                row.of_others.add(counted);
            }
        }
        Ok(())
    }

    /// Compares the pod's view of one question with CoreDNS's answer.
    fn compare(&mut self, query: &[u8], text: &str) -> anyhow::Result<()> {
        let coredns = self.served.coredns();
        let may_be_silent =
            is_no_query(query) || differences::asks_below(query, &self.exceptions.without_service);
        if may_be_silent && coredns.ignores(query)? {
            if !self.client.is_ignored(query)? {
                self.differ(query, [None, None], text, "CoreDNS is silent");
            }
            return Ok(());
        }
        let theirs = Decoded::new(&coredns.ask(query)?)?;
        *self.rcodes.entry(theirs.rcode()).or_default() += 1;
        let ours = Decoded::new(&self.client.ask(query)?)?;
        let Some(difference) = self.difference(query, &theirs, &ours) else {
            return Ok(());
        };
        if self.is_another_answer(query, &ours)? {
            self.varying += 1;
        } else {
            self.differ(query, [Some(&theirs), Some(&ours)], text, &difference);
        }
        Ok(())
    }

    fn difference(&self, query: &[u8], theirs: &Decoded, ours: &Decoded) -> Option<String> {
        let full = || Decoded::new(&self.served.ask_tcp(query)?);
        compare::difference(theirs, ours, full)
    }

    /// Whether CoreDNS gives this answer, too, when it is asked again. It takes the slices of a
    /// Service in a random order (client-go, `tools/cache/thread_safe_store.go`), and the first
    /// endpoint alone decides about a CNAME (CoreDNS, `plugin/backend_lookup.go`).
    fn is_another_answer(&self, query: &[u8], ours: &Decoded) -> anyhow::Result<bool> {
        if self.differing.len() >= SHOWN_MAX {
            return Ok(false);
        }
        for _ in 0..ASKED_AGAIN {
            let theirs = Decoded::new(&self.served.coredns().ask(query)?)?;
            if self.difference(query, &theirs, ours).is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records a difference between CoreDNS's reply and the pod's, under its name if it is
    /// allowed.
    fn differ(
        &mut self,
        query: &[u8],
        [theirs, ours]: [Option<&Decoded>; 2],
        text: &str,
        difference: &str,
    ) {
        let finding = Finding {
            query,
            theirs,
            ours,
            exceptions: &self.exceptions,
            agent: true,
        };
        if let Some(name) = differences::allowed(&finding) {
            *self.allowed.entry(name).or_default() += 1;
        } else {
            self.differing.push(format!("{text}: {difference}"));
        }
    }

    /// The counts as text.
    fn show(&self) -> String {
        let mut text = String::new();
        for (number, row) in &self.rows {
            let shape = shapes::ALL.get(*number);
            let (name, clients) =
                shape.map_or(("random", "no client"), |shape| (shape.name, shape.clients));
            writeln!(text, "  {}", row.line(name, clients)).unwrap();
        }
        writeln!(text, "  CoreDNS by RCODE {:?}", self.rcodes).unwrap();
        writeln!(text, "  allowed differences {:?}", self.allowed).unwrap();
        writeln!(text, "  CoreDNS varies {}", self.varying).unwrap();
        text
    }

    /// Fails if an answer differs, or if the kernel answers less than it should.
    fn check(&self) {
        let shown = self.differing.iter().take(SHOWN_MAX);
        let shown: Vec<_> = shown.map(String::as_str).collect();
        assert!(
            shown.is_empty(),
            "{} differences:\n{}",
            self.differing.len(),
            shown.join("\n")
        );
        for (number, shape) in shapes::ALL.iter().enumerate() {
            let permille = self.rows[&number].permille();
            assert!(
                permille >= KERNEL_PERMILLE,
                "{}: the kernel answers {permille} ‰ of the plain questions",
                shape.name
            );
        }
    }
}

/// Whether a message has no whole header or is a response. Servers ignore both.
fn is_no_query(message: &[u8]) -> bool {
    message.len() < 12 || message[2] & 0x80 != 0
}

/// The seed, or the one that `HEADLESS_SEED` gives.
fn seed() -> u64 {
    let given = std::env::var("HEADLESS_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

#[test]
fn pods_see_what_coredns_answers_in_the_default_mode() {
    let start = Instant::now();
    let (seed, choices) = (seed(), Choices::default());
    let zone = choices.zone;
    let mut generator = Generator::new(seed, zone);
    let mut cluster = generator.cluster(SERVICES);
    let (sentinel, names) = generator.sentinel();
    for object in sentinel {
        cluster.put(object);
    }
    let served = ServedNode::start(&choices, &cluster).unwrap();
    served.wait_for_sentinel(&names, None);
    let pod: Pod = served.node.pod("veth-client", 10);
    let client = served_node::client(&pod).unwrap();
    let agent = served.agent(&[&pod], &[]);
    let mut comparison = Comparison {
        served: &served,
        agent: &agent,
        client: &client,
        exceptions: Exceptions::default(),
        rows: BTreeMap::new(),
        rcodes: BTreeMap::new(),
        allowed: BTreeMap::new(),
        varying: 0,
        differing: Vec::new(),
    };
    comparison.ask(seed, zone, &cluster).unwrap();
    let mut changes = generator.changes(&mut cluster, SERVICES / 4);
    let (sentinel, names) = generator.sentinel();
    for object in sentinel {
        cluster.put(object.clone());
        changes.push(Change::Put(object));
    }
    served.apply(&changes);
    served.wait_for_sentinel(&names, Some((&agent, &client)));
    comparison.ask(seed + 1, zone, &cluster).unwrap();
    // Not by `eprintln!`, which is silent in a test that passes.
    let title = format!(
        "the default mode end to end: seed {seed}, {:.1?}\n",
        start.elapsed()
    );
    let text = title + &comparison.show();
    io::stderr().write_all(text.as_bytes()).unwrap();
    comparison.check();
}
