//! Reads the folders of `tests/cases`: each has objects, questions and CoreDNS's answers.
//! `tests/cases/README.md` describes the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use clap::Parser as _;
use fastrand::Rng;
use headless_agent::args::{Cli, Command};
use headless_agent::config::{Run, Source};
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::mirror::Mirror;
use headless_agent::records::{self, EndpointScope, Index, Reply, Transport};
use headless_agent::responder::ResponderCounts;
use headless_agent::responder::server::{Memory, Responder};
use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use headless_agent::watch::{Event, Kind};
use headless_ebpf::respond::Verdict;
use headless_ebpf::wire::dns::flags::{AA, QR, RD, TC};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::differential::cluster::Object;
use crate::differential::message::{Decoded, DnsName, Query, TextRecord};
use crate::differential::{frame, upstream};
use crate::frame::SERVER;
use crate::host::{Hook, Host};
use crate::maps;

/// MTU in bytes of the interface on which tc answers.
const MTU: u32 = 1500;

/// A question with CoreDNS's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name, with the final dot.
    pub name: String,
    /// The type's mnemonic, such as `AAAA`.
    #[serde(rename = "type")]
    pub qtype: String,
    /// The transport; always `udp`.
    pub transport: String,
    /// Options of the agent without which it cannot give this answer.
    #[serde(default)]
    pub agent_args: Vec<String>,
    /// CoreDNS's answer.
    pub expect: Expected,
}

/// The answer that is expected. The records of a section may come in any order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The RCODE's mnemonic, such as `NXDOMAIN`.
    pub rcode: String,
    /// The AA bit.
    pub aa: bool,
    /// The TC bit.
    pub tc: bool,
    /// The answer section.
    #[serde(default)]
    pub answers: Vec<String>,
    /// The authority section.
    #[serde(default)]
    pub authority: Vec<String>,
    /// The additional section.
    #[serde(default)]
    pub additional: Vec<String>,
    /// Number of records of the answer section in a reply with TC. The sections above then have
    /// the records of which some are in the reply.
    pub answers_count: Option<usize>,
    /// Number of records of the additional section in a reply with TC.
    pub additional_count: Option<usize>,
    /// Whether the two numbers are the same in all replies. Where records differ in length, they
    /// may differ by one.
    #[serde(default = "yes")]
    pub count_exact: bool,
}

const fn yes() -> bool {
    true
}

/// One folder of `tests/cases`.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    /// The folder's questions.
    pub questions: Vec<Question>,
}

/// The outcome of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reply, as a DNS message.
    Reply(Vec<u8>),
    /// The engine passes the query, or the responder refuses it, so that the cluster's DNS
    /// can answer.
    Left,
}

impl Question {
    /// The query as a DNS message, with RD and without EDNS.
    pub fn query(&self) -> Vec<u8> {
        assert_eq!(
            self.transport, "udp",
            "the suite supports no other transport"
        );
        let qtype: RecordType = self.qtype.parse().expect("a type");
        Query::new(DnsName::new(&self.name), qtype.into()).bytes()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.qtype)
    }
}

impl Expected {
    /// The RCODE.
    pub fn rcode(&self) -> u16 {
        let code = match self.rcode.as_str() {
            "NOERROR" => ResponseCode::NoError,
            "NXDOMAIN" => ResponseCode::NXDomain,
            other => panic!("the suite does not know RCODE {other}"),
        };
        code.into()
    }

    /// Panics if a reply is not the expected answer. `about` begins the message.
    pub fn check(&self, reply: &[u8], about: &str) {
        let got = Decoded::new(reply).expect(about);
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let flags = QR | RD | bit(self.aa, AA) | bit(self.tc, TC) | self.rcode();
        assert_eq!(got.flags, flags, "flags of {about}");
        assert_eq!(got.opt, None, "OPT of {about}");
        let sections = [&self.answers, &self.authority, &self.additional];
        let counts = [self.answers_count, None, self.additional_count];
        for ((expected, got), count) in sections.into_iter().zip(&got.sections).zip(counts) {
            let got: Vec<String> = got.iter().map(shown).collect();
            match count {
                Some(count) => self.check_part(expected, &got, count, about),
                None => assert_eq!(sorted(&got), sorted(expected), "{about}"),
            }
        }
    }

    /// Panics if a section is no part of `all`, or has another number of records than `count`.
    fn check_part(&self, all: &[String], got: &[String], count: usize, about: &str) {
        let mut left = all.to_vec();
        for record in got {
            let at = left.iter().position(|other| other == record);
            let at = at.unwrap_or_else(|| panic!("{about}: {record}"));
            left.swap_remove(at);
        }
        let slack = usize::from(!self.count_exact && count > 0);
        assert!(
            got.len().abs_diff(count) <= slack,
            "{about}: {} records",
            got.len()
        );
    }
}

fn sorted(records: &[String]) -> Vec<&String> {
    let mut records: Vec<_> = records.iter().collect();
    records.sort();
    records
}

/// A record as text, as in `questions.json`: a star replaces the serial of a SOA record, and
/// the text of a TXT record is in quotes.
fn shown(line: &TextRecord) -> String {
    let mut words: Vec<String> = line.rest.split(' ').map(str::to_owned).collect();
    match words[2].as_str() {
        "SOA" => "*".clone_into(&mut words[5]),
        "TXT" => words[3] = format!("\"{}\"", words[3]),
        _ => {}
    }
    format!("{} {}", line.owner, words.join(" "))
}

impl Case {
    /// All folders of `tests/cases`, sorted by name.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let mut cases: Vec<Self> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(Self::read)
            .collect();
        cases.sort_by(|a, b| a.path.cmp(&b.path));
        cases
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(path.join("questions.json")).unwrap();
        let questions = serde_json::from_str(&text);
        Self {
            questions: questions.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            path,
        }
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap();
        name.to_string_lossy().into_owned()
    }

    /// The questions, by the agent's options that they need.
    pub fn by_agent_args(&self) -> BTreeMap<&[String], Vec<&Question>> {
        let mut groups: BTreeMap<&[String], Vec<&Question>> = BTreeMap::new();
        for question in &self.questions {
            let group = groups.entry(&question.agent_args).or_default();
            group.push(question);
        }
        groups
    }

    /// The settings of an agent with these options that reads the case's objects.
    pub fn settings(&self, scope: EndpointScope, agent_args: &[String]) -> Run {
        let scope = match scope {
            EndpointScope::All => "all",
            EndpointScope::Headless => "headless",
        };
        let path = self.path.to_string_lossy();
        let own = [
            "headless-agent",
            "run",
            "--manifests",
            &path,
            "--endpoints",
            scope,
        ];
        let words = own.into_iter().chain(agent_args.iter().map(String::as_str));
        let Command::Run(run) = Cli::parse_from(words).command else {
            panic!("{}: not `run`", self.name());
        };
        let settings = run.settings();
        settings.unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// Whether the agent watches an object in the scope [`EndpointScope::Headless`], if the
    /// control plane made the slices.
    fn is_watched_by_default(&self, object: &Object) -> bool {
        let Object::EndpointSlice(slice) = object else {
            return true;
        };
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let has_cluster_ip = |of: &Object| match of {
            Object::Service(of) => {
                let ip = of.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
                of.metadata.namespace == slice.metadata.namespace
                    && of.metadata.name.as_ref() == service
                    && ip.is_some_and(|ip| ip != "None")
            }
            _ => false,
        };
        let of_dns = object.namespace() == "kube-system"
            && service.is_some_and(|service| service == "kube-dns");
        of_dns || !self.objects().iter().any(has_cluster_ip)
    }

    /// The case's objects.
    pub fn objects(&self) -> Vec<Object> {
        objects(&fs::read_to_string(self.path.join("objects.yaml")).unwrap())
    }
}

/// The objects in a text of YAML documents.
pub fn objects(yaml: &str) -> Vec<Object> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().map(object).collect()
}

fn object(document: Value) -> Object {
    fn read<T: DeserializeOwned>(document: Value) -> T {
        serde_json::from_value(document).unwrap()
    }
    match document["kind"].as_str().unwrap() {
        "Namespace" => Object::Namespace(read(document)),
        "Service" => Object::Service(read(document)),
        "EndpointSlice" => Object::EndpointSlice(read(document)),
        "Pod" => Object::Pod(read(document)),
        other => panic!("the suite does not know kind {other}"),
    }
}

/// The engine and the agent's responder over one cluster.
#[derive(Debug)]
pub struct Servers {
    writer: Writer<MemorySink>,
    responder: Responder,
    mirror: Arc<Mirror>,
}

impl Servers {
    /// Fills the maps and the index with a case's objects. With [`EndpointScope::Headless`]
    /// there are no slices of Services with cluster IPs, except for those that the agent watches
    /// in that scope, too.
    pub fn new(case: &Case, scope: EndpointScope, agent_args: &[String]) -> Self {
        let Run {
            source,
            records,
            programs,
            ..
        } = case.settings(scope, agent_args);
        let Source::Manifests { keep, .. } = source else {
            panic!("{}: no folder", case.name());
        };
        let objects = case.objects().into_iter();
        // A slice without a label is made by hand, so that each agent watches it. Here the
        // control plane is its maker.
        let objects = objects
            .filter(|object| scope == EndpointScope::All || case.is_watched_by_default(object));
        let events = objects.map(|object| object.applied(&keep));
        let mut sink = MemorySink::new(programs, maps::CAPACITIES);
        maps::serve(&mut sink, [SERVER.into()]);
        let mut writer = maps::writer(sink);
        let mut index = Index::new(records);
        let starts = Kind::ALL.map(Event::Restart);
        let ends = Kind::ALL.map(Event::Restarted);
        let all: Vec<Event> = starts.into_iter().chain(events).chain(ends).collect();
        let changes = index.apply_all(all);
        index.set_serial(maps::SERIAL);
        writer.write(&changes, &index);
        let pointers = index.take_pointers();
        writer.point(&pointers, &index);
        maps::live(&mut writer, true);
        let mirror = Arc::new(Mirror::new(index, programs));
        Self {
            writer,
            responder: Responder::new(Arc::clone(&mirror), Arc::<ResponderCounts>::default()),
            mirror,
        }
    }

    /// Asks the engine: as in XDP, and as in tc if XDP passes the query. `random` is the value of
    /// all random numbers.
    pub fn by_engine(&self, query: &[u8], random: u32) -> Outcome {
        let before = frame::query(SERVER, query);
        let host = Host {
            random,
            ..Host::new(self.writer.sink())
        };
        for hook in [Hook::Xdp, Hook::Tc(MTU)] {
            let (verdict, after) = host.respond_in(hook, &before);
            match verdict {
                Verdict::Answer(..) => return Outcome::Reply(frame::message(&after).unwrap()),
                Verdict::Pass(_) => assert_eq!(after, before, "a passed frame has changed"),
                Verdict::Lost => panic!("the engine lost the frame"),
            }
        }
        Outcome::Left
    }

    /// Asks the agent's responder, which has no upstream resolvers.
    pub fn by_responder(&self, query: &[u8]) -> Outcome {
        let mut reply = Vec::new();
        self.responder
            .reply(query, &mut Memory::default(), &mut reply);
        let rcode = Decoded::new(&reply).expect("a reply").rcode();
        if rcode == u16::from(ResponseCode::Refused) {
            Outcome::Left
        } else {
            Outcome::Reply(reply)
        }
    }

    /// Asks the resolver, with the upstream resolvers of the differential suite.
    pub fn by_resolver(&self, query: &[u8]) -> Outcome {
        let rng = &mut Rng::new();
        match records::reply(&self.mirror.index(), query, Transport::Udp, rng) {
            Reply::Message(reply) => Outcome::Reply(reply),
            Reply::Chase(unfinished) => {
                let found = unfinished.chases().iter().flat_map(|chase| {
                    let (_, records) = upstream::lookup(&chase.target, chase.qtype.into());
                    records
                });
                let found = found.collect();
                Outcome::Reply(unfinished.finish(found, rng))
            }
            Reply::Forward(_) => Outcome::Left,
            Reply::Ignore => panic!("a query is ignored"),
        }
    }
}
