//! Three parts of headless over the same objects: the resolver, the engine on the host, and
//! the programs in the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use fastrand::Rng;
use headless_agent::corefile::{Left, Namespaces, Rules};
use headless_agent::datapath::object::{self, KernelLog};
use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::heartbeat::Beat;
use headless_agent::maps::kernel::{KernelInterfaces, KernelSink};
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{RecordSink, WriteCounts};
use headless_agent::records::{
    EndpointScope, Forward, Index, NameChange, Reply, Settings, Transport, reply,
};
use headless_agent::selector::Selector;
use headless_agent::watch::{Event, Keep, Kind};
use headless_ebpf::abi::{Address, Config, HashKey, InterfaceRecord, PassReason, Ttls};
use headless_ebpf::respond::{Scratch, Verdict, respond};
use headless_ebpf::wire::Capacity;
use headless_ebpf::wire::frame::FramePacket;
use hickory_proto::rr::{Name, RecordType};

use super::cluster::{Change, Cluster, Object};
use super::coredns::Choices;
use super::{corefiles, frame, upstream};

/// The served address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Name of the XDP program in the object.
const PROGRAM: &str = "headless_xdp";

/// Name of the tc program in the object.
const TC_PROGRAM: &str = "headless_tc";

/// MTU in bytes of pods' interfaces.
const MTU: u32 = 1500;

/// Index of the interface on which test runs receive their packets: the loopback.
const LOOPBACK: u32 = 1;

/// Size in bytes of the buffers for frames.
const FRAME_MAX: usize = 4096;

/// `XDP_PASS` (Linux, `include/uapi/linux/bpf.h`).
const XDP_PASS: u32 = 2;
/// `XDP_TX` (Linux, `include/uapi/linux/bpf.h`).
const XDP_TX: u32 = 3;

/// `TC_ACT_UNSPEC` (Linux, `include/uapi/linux/pkt_cls.h`).
const TC_ACT_UNSPEC: i32 = -1;
/// `TC_ACT_REDIRECT` (Linux, `include/uapi/linux/pkt_cls.h`).
const TC_ACT_REDIRECT: i32 = 7;

/// The resolver's outcome for a query.
#[derive(Debug)]
pub enum ResolverOutcome {
    /// A reply.
    Reply(Vec<u8>),
    /// A reply that has records of the upstream resolver, because a CNAME leads there.
    Chased(Vec<u8>),
    /// The query gets no reply.
    Ignored,
    /// Another server must answer.
    Forward(Forward),
}

/// The engine's outcome for a query.
#[derive(Debug)]
pub enum EngineOutcome {
    /// A reply, as a DNS message.
    Reply(Vec<u8>),
    /// The frame passed unchanged, for this reason.
    Pass(PassReason),
}

/// Resolver, engine and programs over one cluster.
pub struct Ours {
    keep: Keep,
    /// See [`Choices::upstream`].
    upstream: bool,
    endpoints: EndpointScope,
    /// The questions that the distribution's Corefile leaves to CoreDNS.
    left: Left,
    index: Index,
    host: Writer<MemorySink>,
    kernel: Writer<KernelSink>,
    /// The loaded programs and their maps.
    ebpf: Ebpf,
    scratch: Box<Scratch>,
    rng: Rng,
}

impl Ours {
    /// Loads the programs, with CoreDNS's options. `seed` gives the key of the hashes and
    /// the resolver's random numbers.
    pub fn new(choices: &Choices, endpoints: EndpointScope, seed: u64) -> anyhow::Result<Self> {
        let Choices {
            zone,
            ttl,
            pods,
            pod_names,
            options: _,
            upstream,
            distribution,
        } = *choices;
        let rules = distribution.map(corefiles::rules);
        let options = rules.as_ref().and_then(|rules| rules.options.as_ref());
        let (cache, bufsize) = options.map_or((None, None), |it| (it.cache, it.bufsize));
        let (ttl, pods) = options.map_or((ttl, pods), |it| (it.ttl, it.pods));
        let exposure = choices.exposure();
        let ttls = cache.map_or(Ttls::of(ttl), |cache| cache.bound(Ttls::of(ttl)));
        let edns_max = bufsize.unwrap_or(u16::MAX);
        let any_class = options.map_or(upstream, |it| it.any_class);
        let mut config =
            Config::new(zone, ttl, pods, &HashKey::from_seed(seed)).context("not a zone")?;
        config.set_ttls(ttls);
        config.edns_max = edns_max.into();
        config.any_class = any_class.into();
        let settings = Settings {
            ttls,
            cache,
            edns_max,
            any_class,
            pods,
            endpoints,
            exposure: exposure.clone(),
            ..Settings::new(Name::from_ascii(format!("{zone}."))?)
        };
        let keep = Keep {
            pod_names,
            namespaces: match &exposure.namespaces {
                Namespaces::Labelled(selector) => selector.clone(),
                Namespaces::All | Namespaces::Listed(_) => Selector::default(),
            },
            labels: exposure.labels.clone(),
        };
        let capacities = Capacities {
            table_slots: 512,
            names_short: 100_000,
            names_medium: 100_000,
            names_long: 10_000,
            chunks: 10_000,
            endpoint_buckets: 512,
            reverse_buckets: 4096,
        };
        let ebpf = object::load(&capacities, KernelLog::Off)?;
        let mut sink = KernelSink::open(&ebpf)?;
        sink.put_config(&config)?;
        KernelInterfaces::open(&ebpf)?.put(LOOPBACK, InterfaceRecord::new(MTU, true))?;
        let memory = MemorySink::new(config, capacities);
        let mut ours = Self {
            keep,
            upstream,
            endpoints,
            left: rules.as_ref().map_or(Left::NOTHING, Rules::left),
            index: Index::new(settings),
            host: Writer::open(memory, Arc::new(WriteCounts::default()))?,
            kernel: Writer::open(sink, Arc::new(WriteCounts::default()))?,
            ebpf,
            scratch: Box::default(),
            rng: Rng::with_seed(seed),
        };
        let servers = [Address::from(IpAddr::V4(SERVER))];
        ours.host.serve(&servers)?;
        ours.kernel.serve(&servers)?;
        Ok(ours)
    }

    /// Reads a whole cluster, as from lists. `serial` is the SOA's.
    pub fn read(&mut self, cluster: &Cluster, serial: u32) -> anyhow::Result<()> {
        let starts = Kind::ALL.map(Event::Restart);
        let objects = cluster.objects().map(|object| self.seen(object));
        let ends = Kind::ALL.map(Event::Restarted);
        let events: Vec<Event> = starts.into_iter().chain(objects).chain(ends).collect();
        self.take(events, serial)
    }

    /// The event that the agent's watches give for a new or changed object. An object that
    /// the agent does not watch any more is deleted for it.
    fn seen(&self, object: &Object) -> Event {
        if self.endpoints == EndpointScope::Headless && !object.is_watched_by_default() {
            return object.deleted();
        }
        object.applied(&self.keep)
    }

    /// Applies changes, as from watches. `serial` is the SOA's.
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
        let index = &self.index;
        write(&mut self.host, &names, index, serial, &self.left)?;
        write(&mut self.kernel, &names, index, serial, &self.left)?;
        self.host.point(&pointers, index);
        self.kernel.point(&pointers, index);
        Ok(())
    }

    /// Asks the resolver. If a CNAME leads out of the zone, the upstream resolver that
    /// CoreDNS uses gives the rest.
    pub fn by_resolver(&mut self, query: &[u8]) -> ResolverOutcome {
        match reply(&self.index, query, Transport::Udp, &mut self.rng) {
            Reply::Message(message) => ResolverOutcome::Reply(message),
            Reply::Ignore => ResolverOutcome::Ignored,
            Reply::Forward(forwarded) => ResolverOutcome::Forward(forwarded.to),
            Reply::Chase(unfinished) => {
                let chases = unfinished.chases().iter().filter(|_| self.upstream);
                let found = chases.flat_map(|chase| {
                    let (_, records) =
                        upstream::lookup(&chase.target, RecordType::from(chase.qtype));
                    records
                });
                let found = found.collect();
                ResolverOutcome::Chased(unfinished.finish(found, &mut self.rng))
            }
        }
    }

    /// Asks the engine on the host: as in XDP, and as in tc if XDP passes the query.
    pub fn by_engine(&mut self, query: &[u8]) -> anyhow::Result<EngineOutcome> {
        let before = frame::query(SERVER, query);
        let mut buffer = vec![0; FRAME_MAX];
        buffer[..before.len()].copy_from_slice(&before);
        let mut packet = FramePacket::new(&mut buffer, before.len()).context("frame too long")?;
        match self.decide(&mut packet, &before)? {
            EngineOutcome::Pass(_) => {
                let packet = FramePacket::large(&mut buffer, before.len(), MTU);
                self.decide(&mut packet.context("frame too long")?, &before)
            }
            reply @ EngineOutcome::Reply(_) => Ok(reply),
        }
    }

    fn decide<C: Capacity>(
        &mut self,
        packet: &mut FramePacket<'_, C>,
        before: &[u8],
    ) -> anyhow::Result<EngineOutcome> {
        let scratch = &mut *self.scratch;
        match respond(packet, self.host.sink(), || Ok(&mut *scratch)) {
            Verdict::Answer(..) => Ok(EngineOutcome::Reply(frame::message(packet.frame())?)),
            Verdict::Pass(reason) => {
                anyhow::ensure!(
                    packet.frame() == before,
                    "a frame that is passed has changed"
                );
                Ok(EngineOutcome::Pass(reason))
            }
            Verdict::Lost => anyhow::bail!("the engine lost the frame"),
        }
    }

    /// Asks the programs in the kernel: XDP, and tc if XDP passes the query. `None` if both
    /// pass it.
    pub fn by_programs(&mut self, query: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
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
    index: &Index,
    serial: u32,
    left: &Left,
) -> anyhow::Result<()> {
    writer.write(names, index);
    anyhow::ensure!(writer.failed().len() == 0, "names were not written");
    let beat = Beat {
        lease: Duration::from_hours(1),
        serial,
        may_deny: true,
        passes: left.parts,
    };
    writer.beat_leaving(beat, &left.names)?;
    Ok(())
}
