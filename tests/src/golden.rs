//! Frames kept in files: `frames/<case>/` has
//!
//! - `in.hex`: the frame that comes, as [`crate::hex`] reads it,
//! - `case.yaml`: what the maps hold and what becomes of the frame ([`Case`]),
//! - `out.hex`: the frame that leaves, where it is answered. One that is passed
//!   is the frame that came,
//! - `out-tc.hex`: the same of the tc program, where its verdict is another.
//!
//! With `HEADLESS_GOLDEN=write` in the environment, `cargo test -p
//! headless-tests --test golden` writes `out.hex` and `out-tc.hex` from what the
//! engine does now and the comments of all files: look at the difference before it is kept.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use headless_agent::maps::RecordSink;
use headless_agent::maps::memory::MemorySink;
use headless_agent::records::{Counted, Details, NameData, RelativeName, Target, Targets};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::{AnswerKind, Config, NameFlags, Outcome, PassReason, PodsMode, State};
use headless_ebpf::respond::Verdict;
use serde::Deserialize;

use crate::host::Home;
use crate::{frame, hex, maps};

/// Asks for the files to be written.
const WRITE: &str = "HEADLESS_GOLDEN";

/// What `case.yaml` has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case is about, in a sentence.
    pub about: String,
    /// `answer KIND OUTCOME` or `pass REASON`, by the labels of the counters.
    pub verdict: String,
    /// The verdict of the tc program, where it is another.
    pub tc: Option<String>,
    /// MTU of the interface in bytes, which only matters to the tc program.
    #[serde(default = "mtu")]
    pub mtu: u32,
    /// What the maps hold: by names without `svc` and the zone, a list of
    /// addresses, ranges of them (`10.1.0.1-10.1.0.40`), flags (`cluster-ip`,
    /// `pass`, `namespace`, `pod`, `endpoints-unknown`, `repeated`), ports
    /// (`port:http/tcp/80`; without a number, `any`) and targets of SRV records
    /// (`target:web-0=10.1.0.1+fd00::1`, with `/0+2` where it has not all of the
    /// ports; without a label, the name itself).
    /// Ports and targets are the endpoints', of a name with `cluster-ip` its own.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<String>>,
    /// What the table of addresses says: addresses and names of Services, as in
    /// [`Self::names`].
    #[serde(default)]
    pub reverse: BTreeMap<IpAddr, String>,
    /// With which address of the RRset the reply begins, counted from 0.
    #[serde(default)]
    pub start: u32,
    /// The cluster's zone.
    #[serde(default = "zone")]
    pub zone: String,
    /// Whether only pods that exist have names: `--pods verified`.
    #[serde(default)]
    pub verified: bool,
    /// TTL in seconds.
    #[serde(default = "ttl")]
    pub ttl: u32,
    /// The address that is served.
    #[serde(default = "server")]
    pub server: IpAddr,
    /// What is out of order.
    #[serde(default)]
    pub broken: Broken,
    /// The case's name and folder.
    #[serde(skip)]
    folder: PathBuf,
}

/// What is out of order in the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// Nothing.
    #[default]
    Nothing,
    /// The agent's deadline has passed.
    Stale,
    /// The maps do not hold the whole cluster.
    Incomplete,
    /// Names are being written.
    Writing,
    /// Records whose memory belongs to another key by now.
    TornRecords,
    /// Chunks whose memory belongs to another key by now.
    TornChunks,
    /// Chunks that have been deleted.
    LostChunks,
}

fn zone() -> String {
    "cluster.local".into()
}

const fn mtu() -> u32 {
    1500
}

const fn ttl() -> u32 {
    30
}

const fn server() -> IpAddr {
    IpAddr::V4(frame::SERVER)
}

/// Whether the files are to be written.
pub fn writing() -> bool {
    std::env::var_os(WRITE).is_some_and(|value| value == "write")
}

/// Every case, in the order of the names.
pub fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    let mut folders: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let file = folder.join("case.yaml");
        let text = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let case: Self = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { folder, ..case }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into()
    }

    fn hex(&self, file: &str) -> Vec<u8> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        hex::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The frame that comes.
    pub fn input(&self) -> Vec<u8> {
        self.hex("in.hex")
    }

    /// The programs in which it is to be tried.
    pub fn homes(&self) -> [Home; 2] {
        [Home::Xdp, Home::Tc(self.mtu)]
    }

    /// The verdict of a program, and the file with the frame that leaves it.
    fn verdict(&self, home: Home) -> (&str, &'static str) {
        match (&self.tc, home) {
            (Some(verdict), Home::Tc(_)) => (verdict, "out-tc.hex"),
            _ => (&self.verdict, "out.hex"),
        }
    }

    /// The frame that leaves.
    pub fn output(&self, home: Home) -> Vec<u8> {
        let (_, file) = self.verdict(home);
        if self.is_pass(home) {
            let out = self.folder.join(file);
            assert!(!out.exists(), "{} of a passed frame", out.display());
            self.input()
        } else {
            self.hex(file)
        }
    }

    /// Writes the files.
    pub fn write(&self, home: Home, output: &[u8]) {
        let write = |file: &str, frame: &[u8]| {
            fs::write(self.folder.join(file), hex::annotate(frame)).unwrap();
        };
        write("in.hex", &self.input());
        if !self.is_pass(home) {
            write(self.verdict(home).1, output);
        }
    }

    /// Whether the frame is passed.
    pub fn is_pass(&self, home: Home) -> bool {
        self.verdict(home).0.starts_with("pass ")
    }

    /// The verdict that is expected.
    pub fn expected(&self, home: Home) -> Verdict {
        let (verdict, _) = self.verdict(home);
        let found = match verdict.split(' ').collect::<Vec<_>>()[..] {
            ["answer", kind, outcome] => {
                let kind = AnswerKind::ALL.into_iter().find(|it| it.label() == kind);
                let outcome = Outcome::ALL.into_iter().find(|it| it.label() == outcome);
                kind.zip(outcome)
                    .map(|(kind, outcome)| Verdict::Answer(kind, outcome))
            }
            ["pass", reason] => {
                let reason = PassReason::ALL.iter().find(|it| it.label() == reason);
                reason.copied().map(Verdict::Pass)
            }
            _ => None,
        };
        found.unwrap_or_else(|| panic!("{}: verdict `{verdict}`", self.name()))
    }

    /// The configuration that the maps have.
    pub fn config(&self) -> Config {
        let mut config = maps::config(&self.zone, self.ttl);
        if self.verified {
            config.pods = PodsMode::Verified as u32;
        }
        config
    }

    /// The liveness entry that the maps have.
    pub fn state(&self) -> State {
        let state = maps::state();
        match self.broken {
            Broken::Stale => State {
                deadline_ns: 0,
                ..state
            },
            Broken::Incomplete => State { flags: 0, ..state },
            Broken::Writing => state.next_generation(),
            _ => state,
        }
    }

    /// Fills empty maps.
    pub fn fill(&self, sink: &mut impl RecordSink) {
        sink.put_state(self.state()).unwrap();
        sink.put_server(maps::address(self.server), 0).unwrap();
        let names: Vec<_> = self
            .names
            .iter()
            .map(|(name, items)| (relative(name), data(items)))
            .collect();
        maps::install(sink, names.iter().map(|(name, data)| (name, data)));
        let reverse = self.reverse.iter();
        maps::point(
            sink,
            reverse.map(|(address, name)| (*address, relative(name))),
        );
        match self.broken {
            Broken::TornRecords => maps::tear_records(sink),
            Broken::TornChunks => maps::tear_chunks(sink),
            Broken::LostChunks => maps::lose_chunks(sink),
            Broken::Nothing | Broken::Stale | Broken::Incomplete | Broken::Writing => {}
        }
    }

    /// The maps in memory.
    pub fn memory(&self) -> MemorySink {
        let mut sink = MemorySink::new(self.config(), maps::ADDRESSES);
        self.fill(&mut sink);
        sink
    }

    /// The most addresses of a family under any of the names, at least 1.
    pub fn addresses_max(&self) -> u32 {
        let sizes = self.names.values().map(|items| {
            let NameData { ipv4, ipv6, .. } = data(items);
            ipv4.len().max(ipv6.len())
        });
        sizes.max().unwrap_or_default().max(1) as u32
    }
}

fn relative(name: &str) -> RelativeName {
    RelativeName::from_labels(name.split('.')).unwrap_or_else(|| panic!("`{name}` is no name"))
}

fn data(items: &[String]) -> NameData {
    let mut data = NameData {
        flags: NameFlags::empty(),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        details: None,
    };
    let (mut ports, mut targets) = (Vec::new(), Vec::new());
    for item in items {
        let flag = match item.as_str() {
            "cluster-ip" => NameFlags::CLUSTER_IP,
            "pass" => NameFlags::PASS,
            "namespace" | "pod" => NameFlags::NO_SERVICE,
            "endpoints-unknown" => NameFlags::ENDPOINTS_UNKNOWN,
            "repeated" => NameFlags::REPEATED,
            item => {
                if let Some(text) = item.strip_prefix("port:") {
                    ports.push(port(text));
                } else if let Some(text) = item.strip_prefix("target:") {
                    targets.push(target(text));
                } else {
                    addresses(item, &mut data);
                }
                continue;
            }
        };
        data.flags = data.flags.with(flag);
    }
    if !ports.is_empty() || !targets.is_empty() {
        let found = counted(ports, targets);
        let (own, endpoints) = if data.flags.contains(NameFlags::CLUSTER_IP) {
            (Some(found), None)
        } else {
            (None, Some(found))
        };
        data.details = Some(Box::new(Details { own, endpoints }));
    }
    data
}

/// Without ports there is the one that is not declared; a target that does not say
/// which it has has all.
fn counted(ports: Vec<Port>, mut targets: Vec<Target>) -> Targets {
    let mut ports: Vec<_> = ports.into_iter().map(Some).collect();
    if ports.is_empty() {
        ports.push(None);
    }
    for target in &mut targets {
        if target.ports.is_empty() {
            target.ports = (0..ports.len()).collect();
        }
    }
    let endpoints = |has: &dyn Fn(&Target) -> bool| {
        let having = targets.iter().filter(|target| has(target));
        having.map(|target| target.addresses.len()).sum()
    };
    let count = |(place, port)| Counted {
        port,
        endpoints: endpoints(&|target| target.ports.contains(&place)),
    };
    Targets {
        ports: ports.into_iter().enumerate().map(count).collect(),
        endpoints: endpoints(&|_| true),
        targets,
    }
}

fn parsed<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is neither flag nor address, nor number"))
}

fn port(text: &str) -> Port {
    let [name, protocol, number] = text.split('/').collect::<Vec<_>>()[..] else {
        panic!("`{text}` is not `name/protocol/number`");
    };
    Port {
        name: name.into(),
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => panic!("`{other}` is no protocol"),
        },
        number: (number != "any").then(|| parsed(number)),
    }
}

fn target(text: &str) -> Target {
    let (label, rest) = text
        .split_once('=')
        .unwrap_or_else(|| panic!("`{text}` is not `label=address+address/port+port`"));
    let (addresses, ports) = rest.split_once('/').unwrap_or((rest, ""));
    let ports = ports.split('+').filter(|port| !port.is_empty());
    Target {
        label: (!label.is_empty()).then(|| label.into()),
        addresses: addresses.split('+').map(parsed).collect(),
        ports: ports.map(parsed).collect(),
    }
}

fn addresses(item: &str, data: &mut NameData) {
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    match (parsed(first), parsed(last)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => data
            .ipv4
            .extend((first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits)),
        (IpAddr::V6(first), IpAddr::V6(last)) => data
            .ipv6
            .extend((first.to_bits()..=last.to_bits()).map(Ipv6Addr::from_bits)),
        _ => panic!("`{item}` is of two families"),
    }
}
