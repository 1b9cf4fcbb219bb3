//! The three ways in which headless answers, over the same objects: the rules
//! in userspace, the engine on the host, the program in the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use fastrand::Rng;
use headless_agent::datapath::object::{self, Capacities, KernelLog};
use headless_agent::maps::heartbeat::Beat;
use headless_agent::maps::kernel::{KernelInterfaces, KernelSink};
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{RecordSink, WriteCounts};
use headless_agent::records::{
    EndpointScope, Forward, Index, NameChange, Reply, Settings, Transport, reply,
};
use headless_agent::watch::{Event, Keep, Kind};
use headless_ebpf::abi::{Config, Interface, PassReason, ServerAddress};
use headless_ebpf::respond::{Scratch, Verdict, respond};
use headless_ebpf::wire::{FramePacket, Room};
use hickory_proto::rr::{Name, RecordType};

use super::cluster::{Change, Cluster, Object};
use super::coredns::{self, Choices};
use super::{frame, upstream};

/// The address that pods ask.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Name of the XDP program in the object.
const PROGRAM: &str = "headless_xdp";

/// Name of the tc program in the object.
const TC_PROGRAM: &str = "headless_tc";

/// The MTU of pods' interfaces, and the interface on which tests run.
const MTU: u32 = 1500;
const LOOPBACK: u32 = 1;

/// Longest frame.
const FRAME_MAX: usize = 4096;

/// `XDP_PASS` and `XDP_TX` (include/uapi/linux/bpf.h).
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// `TC_ACT_UNSPEC` and `TC_ACT_REDIRECT` (`include/uapi/linux/pkt_cls.h`).
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_REDIRECT: i32 = 7;

/// What the rules in userspace say.
#[derive(Debug)]
pub enum Told {
    /// This reply.
    Reply(Vec<u8>),
    /// This reply, with what an upstream resolver has to say.
    Chased(Vec<u8>),
    /// No reply.
    Ignored,
    /// Somebody else's to answer.
    Forward(Forward),
}

/// What became of a frame.
#[derive(Debug)]
pub enum Handled {
    /// The DNS message of the reply.
    Reply(Vec<u8>),
    /// Passed, unchanged.
    Pass(PassReason),
}

/// headless, without its agent.
pub struct Ours {
    keep: Keep,
    endpoints: EndpointScope,
    index: Index,
    host: Writer<MemorySink>,
    kernel: Writer<KernelSink>,
    /// Holds the program and its maps.
    ebpf: Ebpf,
    scratch: Box<Scratch>,
    rng: Rng,
}

impl Ours {
    /// With CoreDNS's choices, and a seed for what is left to chance.
    pub fn new(choices: &Choices, endpoints: EndpointScope, seed: u64) -> anyhow::Result<Self> {
        let Choices {
            zone,
            ttl,
            pods,
            pod_names,
        } = *choices;
        let config = Config::new(zone, ttl, pods, seed).context("not a zone")?;
        let settings = Settings {
            ttl,
            pods,
            endpoints,
            dns_addresses: vec![IpAddr::V4(coredns::ADDRESS)],
            ..Settings::new(Name::from_ascii(format!("{zone}."))?)
        };
        let capacities = Capacities {
            names_table: 512,
            names_short: 100_000,
            names_medium: 100_000,
            names_long: 10_000,
            chunks: 10_000,
            reverse: 10_000,
        };
        let ebpf = object::load(&capacities, KernelLog::Off)?;
        let mut sink = KernelSink::open(&ebpf)?;
        sink.put_config(&config)?;
        KernelInterfaces::open(&ebpf)?.put(LOOPBACK, Interface::new(MTU, true))?;
        let memory = MemorySink::new(config, capacities.reverse);
        let mut ours = Self {
            keep: Keep { pod_names },
            endpoints,
            index: Index::new(settings),
            host: Writer::new(memory, seed, Arc::new(WriteCounts::default())),
            kernel: Writer::new(sink, seed, Arc::new(WriteCounts::default())),
            ebpf,
            scratch: Box::default(),
            rng: Rng::with_seed(seed),
        };
        let servers = [ServerAddress::from(IpAddr::V4(SERVER))];
        ours.host.serve(&servers)?;
        ours.kernel.serve(&servers)?;
        Ok(ours)
    }

    /// Reads a whole cluster, as after a list.
    pub fn read(&mut self, cluster: &Cluster, serial: u32) -> anyhow::Result<()> {
        let starts = Kind::ALL.map(Event::Restart);
        let objects = cluster.objects().map(|object| self.seen(object));
        let ends = Kind::ALL.map(Event::Restarted);
        let events: Vec<Event> = starts.into_iter().chain(objects).chain(ends).collect();
        self.take(events, serial)
    }

    /// What the agent's watches tell of an object. An object that moves out of their
    /// selection is gone for the agent.
    fn seen(&self, object: &Object) -> Event {
        if self.endpoints == EndpointScope::Headless && !object.is_watched_by_default() {
            return object.deleted();
        }
        object.applied(self.keep)
    }

    /// Takes in changes, as from a watch.
    pub fn apply(&mut self, changes: &[Change], serial: u32) -> anyhow::Result<()> {
        let event = |change: &Change| match change {
            Change::Put(object) => self.seen(object),
            Change::Delete((kind, namespace, name)) => {
                Event::Delete(headless_agent::watch::ObjectRef {
                    kind: *kind,
                    namespace: namespace.as_str().into(),
                    name: name.as_str().into(),
                })
            }
        };
        let events = changes.iter().map(event).collect();
        self.take(events, serial)
    }

    fn take(&mut self, events: Vec<Event>, serial: u32) -> anyhow::Result<()> {
        let names = self.index.apply_all(events);
        self.index.set_serial(serial);
        let pointers = self.index.take_pointers();
        self.host.point(&pointers);
        self.kernel.point(&pointers);
        write(&mut self.host, &names, serial)?;
        write(&mut self.kernel, &names, serial)
    }

    /// By the rules in userspace. A chain of CNAMEs that leaves the zone is
    /// followed at the same upstream resolver as CoreDNS's.
    pub fn by_rules(&mut self, query: &[u8]) -> Told {
        match reply(&self.index, query, Transport::Udp, &mut self.rng) {
            Reply::Message(message) => Told::Reply(message),
            Reply::Ignore => Told::Ignored,
            Reply::Forward(forwarded) => Told::Forward(forwarded.to),
            Reply::Chase(unfinished) => {
                let found = unfinished.chase().map(|chase| {
                    let (_, records) =
                        upstream::lookup(&chase.target, RecordType::from(chase.qtype));
                    records
                });
                Told::Chased(unfinished.finish(&self.index, found, &mut self.rng))
            }
        }
    }

    /// By the engine on the host: as in XDP, and where that passes as in tc.
    pub fn by_engine(&mut self, query: &[u8]) -> anyhow::Result<Handled> {
        let before = frame::query(SERVER, query);
        let mut buffer = vec![0; FRAME_MAX];
        buffer[..before.len()].copy_from_slice(&before);
        let mut packet = FramePacket::new(&mut buffer, before.len()).context("frame too long")?;
        match self.decide(&mut packet, &before)? {
            Handled::Pass(_) => {
                let packet = FramePacket::large(&mut buffer, before.len(), MTU);
                self.decide(&mut packet.context("frame too long")?, &before)
            }
            reply @ Handled::Reply(_) => Ok(reply),
        }
    }

    fn decide<R: Room>(
        &mut self,
        packet: &mut FramePacket<'_, R>,
        before: &[u8],
    ) -> anyhow::Result<Handled> {
        let scratch = &mut self.scratch;
        match respond(packet, self.host.sink(), || Some(scratch)) {
            Verdict::Answer(..) => Ok(Handled::Reply(frame::message(packet.frame())?)),
            Verdict::Pass(reason) => {
                anyhow::ensure!(
                    packet.frame() == before,
                    "a frame that is passed has changed"
                );
                Ok(Handled::Pass(reason))
            }
            Verdict::Lost => anyhow::bail!("lost"),
        }
    }

    /// By the programs in the kernel, one behind the other; `None` where both pass.
    pub fn by_kernel(&mut self, query: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let before = frame::query(SERVER, query);
        let program = self.ebpf.program(PROGRAM).context("no program")?;
        let program: &Xdp = program.try_into()?;
        let mut after = vec![0; FRAME_MAX];
        let run = program.test_run(TestRunOptions {
            data_in: Some(&before),
            data_out: Some(&mut after),
            ..TestRunOptions::new()
        })?;
        after.truncate(run.data_size_out as usize);
        match run.return_value {
            XDP_TX => frame::message(&after).map(Some),
            XDP_PASS => {
                anyhow::ensure!(after == before, "a frame that is passed has changed");
                self.by_tc(&before)
            }
            other => anyhow::bail!("XDP program returned {other}"),
        }
    }

    fn by_tc(&mut self, before: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let program = self.ebpf.program(TC_PROGRAM).context("no program")?;
        let program: &SchedClassifier = program.try_into()?;
        let mut after = vec![0; FRAME_MAX];
        let run = program.test_run(TestRunOptions {
            data_in: Some(before),
            data_out: Some(&mut after),
            ..TestRunOptions::new()
        })?;
        after.truncate(run.data_size_out as usize);
        match run.return_value.cast_signed() {
            TC_ACT_REDIRECT => frame::message(&after).map(Some),
            TC_ACT_UNSPEC => {
                anyhow::ensure!(after == before, "a frame that is passed has changed");
                Ok(None)
            }
            other => anyhow::bail!("tc program returned {other}"),
        }
    }
}

fn write<S: RecordSink>(
    writer: &mut Writer<S>,
    names: &[NameChange],
    serial: u32,
) -> anyhow::Result<()> {
    writer.apply(names);
    anyhow::ensure!(writer.failed().len() == 0, "names were not written");
    writer.beat(Beat {
        lease: Duration::from_hours(1),
        serial,
        synced: true,
    })?;
    Ok(())
}
