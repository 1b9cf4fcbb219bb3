//! Real clients in two pods: one with programs on its interface, one without. Both must see the
//! same, and the kernel must answer nearly all questions of the first about names of the zone.

mod caches;
mod libraries;
mod proxies;
mod replayed;
mod runtimes;
mod tools;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use headless_tests::agent::Agent;
use headless_tests::differential::coredns::Choices;
use headless_tests::node::Pod;
use headless_tests::served_node::ServedNode;

use crate::cluster::{self, WEB};
use crate::counted::Counted;
use crate::site::{Site, View};

/// The least share of the questions in the zone that the kernel answers, in thousandths.
const AIM: u64 = 990;

/// Reasons of packets that are no question in the zone over UDP: questions for other names, among
/// them all reverse names that the kernel does not answer, replies, connections over TCP, multicast
/// listener reports, and fragments.
const NOT_IN_ZONE: [&str; 5] = ["outside_zone", "response", "tcp", "ip_header", "not_served"];

/// The end of the interface's name whose pod has no programs.
const PLAIN: &str = "veth-plain";

/// A set-up of a client.
pub(crate) struct Profile {
    name: &'static str,
    /// What must be there for the client to run: an environment variable, or a program.
    needs: Needs,
    /// Asks, and returns what the client shows.
    ask: fn(&Site<'_>) -> View,
    /// Parts of what the client shows when all goes well.
    shows: Vec<&'static str>,
}

/// What a client needs.
enum Needs {
    /// Nothing: the suite sends the queries itself.
    Nothing,
    /// A program on `PATH`.
    Program(&'static str),
    /// An environment variable, which xtask sets once it has installed the client.
    Variable(&'static str),
}

impl Profile {
    /// A client that shows the addresses of the Service `web`.
    fn new(name: &'static str, needs: Needs, ask: fn(&Site<'_>) -> View) -> Self {
        Self {
            name,
            needs,
            ask,
            shows: WEB.to_vec(),
        }
    }
}

impl Needs {
    fn are_met(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Program(name) => std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
            }),
            Self::Variable(name) => std::env::var_os(name).is_some(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Program(name) | Self::Variable(name) => name,
        }
    }
}

/// The lines that only one of two views has.
fn difference(with: &View, without: &View) -> Option<String> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for (view, by) in [(with, 1), (without, -1)] {
        for line in view {
            *counts.entry(line).or_default() += by;
        }
    }
    let mut text = String::new();
    for (line, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        let who = if count > 0 { "with   " } else { "without" };
        writeln!(text, "    {who} headless: {line}").unwrap();
    }
    (!text.is_empty()).then_some(text)
}

/// Two pods, of which one is served.
struct Pods<'a> {
    agent: &'a Agent<'a>,
    with: &'a Pod,
    without: &'a Pod,
}

impl Pods<'_> {
    /// Runs a client in both pods. Returns a line of figures, and what is wrong.
    fn run(&self, profile: &Profile) -> (String, Option<String>) {
        let name = profile.name;
        // A client that fails must not keep the others from running.
        let ask = |pod| catch_unwind(AssertUnwindSafe(|| (profile.ask)(&Site::new(pod))));
        let without = ask(self.without);
        let before = Counted::now(self.agent);
        let with = ask(self.with);
        let (Ok(with), Ok(without)) = (with, without) else {
            return (
                format!("  {name:<32} FAILED\n"),
                Some(format!("{name} failed")),
            );
        };
        let mut counted = Counted::now(self.agent).since(&before);
        counted
            .passes
            .retain(|reason, _| !NOT_IN_ZONE.contains(&reason.as_str()));
        let passed: u64 = counted.passes.values().sum();
        let asked = counted.answers + passed;
        let permille = (counted.answers * 1000).checked_div(asked).unwrap_or(0);
        let line = format!(
            "  {name:<32} {asked:>4} in the zone, kernel {:>3}.{} %, passed {:?}\n",
            permille / 10,
            permille % 10,
            counted.passes
        );
        let missing = profile.shows.iter().find(|part| {
            let mut lines = with.iter();
            !lines.any(|line| line.contains(**part))
        });
        let fault = if let Some(difference) = difference(&with, &without) {
            Some(format!("{name} sees a difference:\n{difference}"))
        } else if let Some(part) = missing {
            Some(format!("{name} does not show {part}: {with:#?}"))
        } else if asked == 0 {
            Some(format!("{name} asked nothing in the zone"))
        } else {
            let short = permille < AIM;
            short.then(|| format!("{name}: the kernel answered {permille} ‰ of {asked}"))
        };
        (line, fault)
    }
}

#[test]
fn clients_see_what_they_see_without_headless_and_the_kernel_answers() {
    let served = ServedNode::start(&Choices::default(), &cluster::cluster()).unwrap();
    let with = served.node.pod("veth-client", 10);
    let without = served.node.pod(PLAIN, 11);
    let agent = served.agent(&[&with], &["--exclude-interface", PLAIN]);
    let pods = Pods {
        agent: &agent,
        with: &with,
        without: &without,
    };
    let profiles = [
        libraries::all(),
        tools::all(),
        caches::all(),
        proxies::all(),
        replayed::all(),
        runtimes::all(),
    ];
    let (mut text, mut faults) = ("client profiles\n".to_owned(), Vec::new());
    for profile in profiles.into_iter().flatten() {
        if profile.needs.are_met() {
            let (line, fault) = pods.run(&profile);
            text += &line;
            faults.extend(fault);
        } else {
            let (name, needs) = (profile.name, profile.needs.name());
            writeln!(text, "  {name:<32} SKIPPED: no {needs}").unwrap();
        }
    }
    // Not by `eprintln!`, which is silent in a test that passes.
    io::stderr().write_all(text.as_bytes()).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
