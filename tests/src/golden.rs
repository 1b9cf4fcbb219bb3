//! Golden frames: queries and replies that are kept in files. Each folder `frames/<case>/`
//! has
//!
//! - `in.hex`: the frame that comes in, in the format of [`crate::hex`],
//! - `case.yaml`: the maps' content and the expected verdict ([`Case`]),
//! - `out.hex`: the reply, if the frame is answered,
//! - `out-tc.hex`: the reply of the tc program, if its verdict differs.
//!
//! With `HEADLESS_GOLDEN=write` in the environment, `cargo test -p headless-tests --test
//! golden` replaces `out.hex` and `out-tc.hex` by the engine's replies, and rewrites the
//! comments of all files. Review the difference before you commit it.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use headless_agent::corefile::{Cache, Clamp, Part, Parts};
use headless_agent::maps::RecordSink;
use headless_agent::maps::encode::passed_names;
use headless_agent::maps::memory::MemorySink;
use headless_agent::records::NameData;
use headless_ebpf::abi::{
    AnswerKind, Config, NameFlags, Outcome, PassReason, PodsMode, State, Ttls,
};
use headless_ebpf::respond::Verdict;
use serde::Deserialize;

use self::names::{data, relative};
use crate::host::Hook;
use crate::{frame, hex, maps};

/// The environment variable that asks for the files to be written.
const WRITE: &str = "HEADLESS_GOLDEN";

/// The content of a `case.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The case's subject, in a sentence.
    pub about: String,
    /// `answer KIND OUTCOME` or `pass REASON`, by the labels of the counters.
    pub verdict: String,
    /// The verdict of the tc program; `None` if it is the same.
    pub tc: Option<String>,
    /// MTU of the interface in bytes. Only the tc program reads it.
    #[serde(default = "mtu")]
    pub mtu: u32,
    /// The names in the maps, left of `svc` and the zone. Each has a list of:
    ///
    /// - addresses, and ranges of addresses (`10.1.0.1-10.1.0.40`),
    /// - flags: `cluster-ip`, `pass`, `namespace`, `pod`, `endpoints-unknown`, `repeated`,
    /// - ports: `port:http/tcp/80`, or `port:http/tcp/any` for a port without number,
    /// - SRV targets: `target:web-0=10.1.0.1+fd00::1`. A target without a label is the name
    ///   itself. `/0+2` behind it restricts the target to the ports 0 and 2.
    ///
    /// Ports and targets belong to the name's endpoints; with `cluster-ip` they are its own.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<String>>,
    /// The reverse names in the maps: addresses with names of Services, which are written as
    /// in [`Self::names`].
    #[serde(default)]
    pub reverse: BTreeMap<IpAddr, String>,
    /// The address of the RRset with which the reply begins, counted from 0.
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
    /// The largest TTL of the Corefile's `cache`, in seconds.
    #[serde(default)]
    pub cache: Option<u32>,
    /// The size of the Corefile's `bufsize`, in bytes.
    #[serde(default)]
    pub bufsize: Option<u16>,
    /// Whether the Corefile has `forward`, so that CoreDNS answers questions of any class.
    #[serde(default)]
    pub forward: bool,
    /// The parts of the questions that are left to CoreDNS, by label.
    #[serde(default)]
    pub left: Vec<String>,
    /// Names that are left to CoreDNS, left of the zone.
    #[serde(default)]
    pub left_names: BTreeSet<Box<str>>,
    /// The served address.
    #[serde(default = "server")]
    pub server: IpAddr,
    /// The fault in the maps.
    #[serde(default)]
    pub broken: Broken,
    /// The case's folder, whose name is the case's.
    #[serde(skip)]
    folder: PathBuf,
}

/// A fault or an unusual state of the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// The maps are in order.
    #[default]
    Nothing,
    /// The agent's deadline has passed.
    Stale,
    /// The maps do not hold the whole cluster.
    Incomplete,
    /// Names are being written.
    Writing,
    /// The memory of the name records belongs to other keys by now.
    TornRecords,
    /// The memory of the chunks belongs to other sets by now.
    TornChunks,
    /// The chunks have been deleted.
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

/// Whether the environment asks for the files to be written.
pub fn writing() -> bool {
    std::env::var_os(WRITE).is_some_and(|value| value == "write")
}

/// All cases, sorted by name.
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

    /// The case's name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into()
    }

    fn hex(&self, file: &str) -> Vec<u8> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        hex::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The frame that comes in.
    pub fn input(&self) -> Vec<u8> {
        self.hex("in.hex")
    }

    /// The hooks at which the case is tested.
    pub fn hooks(&self) -> [Hook; 2] {
        [Hook::Xdp, Hook::Tc(self.mtu)]
    }

    /// The expected verdict at a hook as text, and the file with the reply.
    fn verdict(&self, hook: Hook) -> (&str, &'static str) {
        match (&self.tc, hook) {
            (Some(verdict), Hook::Tc(_)) => (verdict, "out-tc.hex"),
            _ => (&self.verdict, "out.hex"),
        }
    }

    /// The expected frame afterwards. A passed frame is the frame that comes in.
    pub fn output(&self, hook: Hook) -> Vec<u8> {
        let (_, file) = self.verdict(hook);
        if self.is_pass(hook) {
            let out = self.folder.join(file);
            assert!(!out.exists(), "{} of a passed frame", out.display());
            self.input()
        } else {
            self.hex(file)
        }
    }

    /// Writes the files of a hook; `output` is the engine's reply.
    pub fn write(&self, hook: Hook, output: &[u8]) {
        let write = |file: &str, frame: &[u8]| {
            fs::write(self.folder.join(file), hex::annotate(frame)).unwrap();
        };
        write("in.hex", &self.input());
        if !self.is_pass(hook) {
            write(self.verdict(hook).1, output);
        }
    }

    /// Whether the frame is expected to pass.
    pub fn is_pass(&self, hook: Hook) -> bool {
        self.verdict(hook).0.starts_with("pass ")
    }

    /// The expected verdict at a hook.
    pub fn expected(&self, hook: Hook) -> Verdict {
        let (verdict, _) = self.verdict(hook);
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

    /// The maps' configuration.
    pub fn config(&self) -> Config {
        let mut config = maps::config(&self.zone, self.ttl);
        if self.verified {
            config.pods = PodsMode::Verified as u32;
        }
        if let Some(max) = self.cache {
            let clamp = Clamp { min: 5, max };
            let cache = Cache {
                success: clamp,
                denial: clamp,
            };
            config.set_ttls(cache.bound(Ttls::of(self.ttl)));
        }
        if let Some(size) = self.bufsize {
            config.edns_max = size.into();
        }
        config.any_class = self.forward.into();
        config.passed = passed_names(&config, &self.left_names).unwrap();
        config
    }

    /// The maps' state.
    pub fn state(&self) -> State {
        let mut state = maps::state();
        // The agent sets the bit before the first namespace yields.
        let yields = NameFlags::NO_SERVICE.with(NameFlags::ENDPOINTS_UNKNOWN);
        let mut names = self.names.values();
        if names.any(|items| data(items).flags.contains(yields)) {
            state.flags |= State::YIELDING;
        }
        for label in &self.left {
            let part = Part::ALL.into_iter().find(|part| part.label() == label);
            let part = part.unwrap_or_else(|| panic!("{}: part `{label}`", self.name()));
            state.flags |= Parts::from(part).bits();
        }
        state.flags |= self.config().passed.flag();
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

    /// Fills empty maps with the case's content.
    pub fn fill(&self, sink: &mut impl RecordSink) {
        maps::serve(sink, [self.server]);
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
        sink.put_state(self.state()).unwrap();
    }

    /// Maps in memory with the case's content.
    pub fn memory(&self) -> MemorySink {
        let mut sink = MemorySink::new(self.config(), maps::CAPACITIES);
        self.fill(&mut sink);
        sink
    }

    /// The most addresses of a family that a name has; at least 1.
    pub fn addresses_max(&self) -> u32 {
        let sizes = self.names.values().map(|items| {
            let NameData { ipv4, ipv6, .. } = data(items);
            ipv4.len().max(ipv6.len())
        });
        sizes.max().unwrap_or_default().max(1) as u32
    }
}
