//! Reads the folders of `tests/cases`: each has objects, questions and CoreDNS's answers.
//! `tests/cases/README.md` describes the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::mirror::Mirror;
use headless_agent::records::EndpointScope;
use headless_agent::responder::ResponderCounts;
use headless_agent::responder::server::{Memory, Responder};
use headless_agent::watch::{Event, Keep, Object, ServiceKind, manifests};
use headless_ebpf::respond::Verdict;
use headless_ebpf::wire::dns::flags::{AA, QR, RD, TC};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde::Deserialize;

use crate::agreement;
use crate::cluster::Cluster;
use crate::differential::frame;
use crate::differential::message::{Decoded, DnsName, Query, TextRecord};
use crate::frame::SERVER;
use crate::host::{Hook, Host};
use crate::maps;

/// The zone of all cases.
const ZONE: &str = "cluster.local";

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
    /// Panics if a reply is not the expected answer. `about` begins the message.
    pub fn check(&self, reply: &[u8], about: &str) {
        let got = Decoded::new(reply).expect(about);
        let rcode = match self.rcode.as_str() {
            "NOERROR" => ResponseCode::NoError,
            "NXDOMAIN" => ResponseCode::NXDomain,
            other => panic!("{about}: the suite does not know RCODE {other}"),
        };
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let flags = QR | RD | bit(self.aa, AA) | bit(self.tc, TC) | u16::from(rcode);
        assert_eq!(got.flags, flags, "flags of {about}");
        assert_eq!(got.opt, None, "OPT of {about}");
        let sections = [&self.answers, &self.authority, &self.additional];
        for (expected, got) in sections.into_iter().zip(&got.sections) {
            let mut expected = expected.clone();
            expected.sort();
            let mut got: Vec<String> = got.iter().map(shown).collect();
            got.sort();
            assert_eq!(got, expected, "{about}");
        }
    }
}

/// A record as text, as in `questions.json`: a star replaces the serial of a SOA record.
fn shown(line: &TextRecord) -> String {
    let mut words: Vec<&str> = line.rest.split(' ').collect();
    if words[2] == "SOA" {
        words[5] = "*";
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

    /// The case's objects, as the agent's events. With [`EndpointScope::Headless`] there
    /// are no slices of Services with cluster IPs, because the agent does not watch these
    /// in that scope.
    pub fn cluster(&self, scope: EndpointScope) -> Cluster {
        // The agent would read `questions.json` in the same folder as an object.
        let folder = tempfile::tempdir().unwrap();
        let objects = "objects.yaml";
        fs::copy(self.path.join(objects), folder.path().join(objects)).unwrap();
        let batch = manifests::load(folder.path(), Keep::default()).unwrap();
        let problems: Vec<_> = batch
            .reports
            .iter()
            .flat_map(|of| of.problems.kept())
            .collect();
        assert!(problems.is_empty(), "{}: {problems:?}", self.name());
        let unwatched: Vec<(Box<str>, Box<str>)> = batch
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Apply(Object::Service(service))
                    if matches!(service.kind, ServiceKind::ClusterIp(_)) =>
                {
                    Some((service.namespace.clone(), service.name.clone()))
                }
                _ => None,
            })
            .filter(|_| scope == EndpointScope::Headless)
            .collect();
        let is_watched = |event: &Event| match event {
            Event::Apply(Object::EndpointSlice(slice)) => {
                !unwatched.contains(&(slice.namespace.clone(), slice.service.clone()))
            }
            _ => true,
        };
        Cluster {
            zone: ZONE,
            scope,
            events: batch.events.into_iter().filter(is_watched).collect(),
        }
    }
}

/// The engine and the agent's responder over one cluster.
#[derive(Debug)]
pub struct Servers {
    writer: Writer<MemorySink>,
    responder: Responder,
}

impl Servers {
    /// Fills the maps and the index with a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let (index, writer) = agreement::mirror(cluster, true);
        let config = maps::config(ZONE, 30);
        let mirror = Arc::new(Mirror::new(index, config));
        Self {
            writer,
            responder: Responder::new(mirror, Arc::<ResponderCounts>::default()),
        }
    }

    /// Asks the engine: as in XDP, and as in tc if XDP passes the query.
    pub fn by_engine(&self, query: &[u8]) -> Outcome {
        let before = frame::query(SERVER, query);
        for hook in [Hook::Xdp, Hook::Tc(MTU)] {
            let (verdict, after) = Host::new(self.writer.sink()).respond_in(hook, &before);
            match verdict {
                Verdict::Answer(..) => return Outcome::Reply(frame::message(&after).unwrap()),
                Verdict::Pass(_) => assert_eq!(after, before, "a passed frame has changed"),
                Verdict::Lost => panic!("the engine lost the frame"),
            }
        }
        Outcome::Left
    }

    /// Asks the agent's responder.
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
}
