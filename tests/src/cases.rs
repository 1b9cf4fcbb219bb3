//! Folders of objects with questions and the answers of CoreDNS: `cases/README.md` says
//! how they look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::mirror::Mirror;
use headless_agent::records::EndpointScope;
use headless_agent::responder::Counts;
use headless_agent::responder::server::{Memory, Responder};
use headless_agent::watch::{Event, Keep, Object, ServiceKind, manifests};
use headless_ebpf::respond::Verdict;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde::Deserialize;

use crate::agreement;
use crate::cluster::Cluster;
use crate::differential::frame;
use crate::differential::message::{Decoded, Labels, Line, Query, RD, TC};
use crate::frame::SERVER;
use crate::host::{Home, Host};
use crate::maps;

/// The zone of every case.
const ZONE: &str = "cluster.local";

/// MTU of the interface on which tc answers.
const MTU: u32 = 1500;

/// Header bits of a response and of an authoritative one (RFC 1035, section 4.1.1).
const QR: u16 = 1 << 15;
const AA: u16 = 1 << 10;

/// A question and CoreDNS's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name, with the final dot.
    pub name: String,
    /// The type, as in a zone file.
    #[serde(rename = "type")]
    pub qtype: String,
    /// `udp`.
    pub transport: String,
    /// The answer.
    pub expect: Expected,
}

/// An answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The RCODE, as in `NXDOMAIN`.
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

/// One folder.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    /// Its questions.
    pub questions: Vec<Question>,
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This reply.
    Reply(Vec<u8>),
    /// The engine passes it, or the responder refuses it: whoever is behind answers.
    Left,
}

impl Question {
    /// The query, with RD and without EDNS.
    pub fn query(&self) -> Vec<u8> {
        assert_eq!(self.transport, "udp", "the suite asks by UDP alone");
        let qtype: RecordType = self.qtype.parse().expect("a type");
        Query::new(Labels::new(&self.name), qtype.into()).bytes()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.qtype)
    }
}

impl Expected {
    /// Fails where the reply is another one.
    pub fn check(&self, reply: &[u8], about: &str) {
        let got = Decoded::new(reply).expect(about);
        let rcode = match self.rcode.as_str() {
            "NOERROR" => ResponseCode::NoError,
            "NXDOMAIN" => ResponseCode::NXDomain,
            other => panic!("RCODE {other} of {about} is not known here"),
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

/// A record as in `questions.json`.
fn shown(line: &Line) -> String {
    let mut words: Vec<&str> = line.rest.split(' ').collect();
    if words[2] == "SOA" {
        words[5] = "*";
    }
    format!("{} {}", line.owner, words.join(" "))
}

impl Case {
    /// Every folder of `tests/cases`.
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

    /// The objects as the agent takes them in. With [`EndpointScope::Headless`] the
    /// slices of Services with cluster IPs are left out: the control plane's controller
    /// made them, and that mode does not watch these.
    pub fn cluster(&self, scope: EndpointScope) -> Cluster {
        // The source reads JSON too, so the objects have to be alone.
        let folder = tempfile::tempdir().unwrap();
        let objects = "objects.yaml";
        fs::copy(self.path.join(objects), folder.path().join(objects)).unwrap();
        let batch = manifests::load(folder.path(), Keep::default()).unwrap();
        let problems: Vec<_> = batch.reports.iter().flat_map(|of| &of.problems).collect();
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

/// The engine and the responder over one cluster.
#[derive(Debug)]
pub struct Homes {
    writer: Writer<MemorySink>,
    responder: Responder,
}

impl Homes {
    /// Over a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let (index, writer) = agreement::mirror(cluster, true);
        let config = maps::config(ZONE, 30);
        let mirror = Arc::new(Mirror::new(index, config));
        Self {
            writer,
            responder: Responder::new(mirror, Arc::<Counts>::default()),
        }
    }

    /// By the programs, XDP first, then tc.
    pub fn by_engine(&self, query: &[u8]) -> Outcome {
        let before = frame::query(SERVER, query);
        for home in [Home::Xdp, Home::Tc(MTU)] {
            let (verdict, after) = Host::new(self.writer.sink()).respond_in(home, &before);
            match verdict {
                Verdict::Answer(..) => return Outcome::Reply(frame::message(&after).unwrap()),
                Verdict::Pass(_) => assert_eq!(after, before, "passed, and changed"),
                Verdict::Lost => panic!("lost"),
            }
        }
        Outcome::Left
    }

    /// By the agent's responder.
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
