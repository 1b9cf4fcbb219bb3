//! The engine on the host, over maps in memory. The test sets the clock and the random
//! number.

use headless_agent::maps::memory::MemorySink;
use headless_ebpf::abi::{Address, Config, EndpointEntry, KeyClass, KeyedHash, Path, State};
use headless_ebpf::maps::{Lookup, RecordWords};
use headless_ebpf::respond::{Scratch, Verdict, respond};
use headless_ebpf::wire::frame::{FramePacket, Packet};
use headless_ebpf::wire::{ChunkBytes, KeyBytes};

/// The length in bytes to which a frame can grow.
const BUFFER: usize = 8192;

/// The hook at which the engine runs. XDP and tc differ in how large a reply may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// tc, on an interface with this MTU in bytes.
    Tc(u32),
    /// tc, on such an interface that is only observed.
    Observed(u32),
}

impl Hook {
    /// The path whose counters the hook's program moves.
    pub const fn path(self) -> Path {
        match self {
            Self::Xdp => Path::Xdp,
            Self::Tc(_) | Self::Observed(_) => Path::Tc,
        }
    }
}

/// Maps, clock and random number for the engine.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The maps.
    pub maps: &'a MemorySink,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub now_ns: u64,
    /// The value of every random number.
    pub random: u32,
}

impl<'a> Host<'a> {
    /// The clock is at 0, and so is every random number.
    pub fn new(maps: &'a MemorySink) -> Self {
        Self {
            maps,
            now_ns: 0,
            random: 0,
        }
    }

    /// Sets the random number so that replies begin with address `start` of an RRset with
    /// `total` addresses. `start` counts from 0.
    #[must_use]
    pub fn starting(self, start: u32, total: u32) -> Self {
        let random = (u64::from(start) << 32).div_ceil(total.into());
        Self {
            random: u32::try_from(random).expect("start is less than total"),
            ..self
        }
    }

    /// Hosts with random numbers for every start of a reply: with each of `total` addresses, and
    /// with each SRV target of up to 32 chunks.
    pub fn every_start(self, total: u32) -> impl Iterator<Item = Self> {
        let addresses = (0..total).map(move |start| self.starting(start, total));
        let targets = (0..1 << 9).map(move |turn: u32| Self {
            random: (turn >> 4) << 27 | (turn & 0xf) << 12,
            ..self
        });
        addresses.chain(targets)
    }

    /// Runs the engine as in XDP. Returns the verdict, and the frame afterwards.
    pub fn respond(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.respond_in(Hook::Xdp, frame)
    }

    /// Runs the engine as at this hook. Returns the verdict, and the frame afterwards.
    pub fn respond_in(&self, hook: Hook, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.respond_within(hook, frame, BUFFER)
    }

    /// Like [`Self::respond_in`], for a frame that can grow to `len_max` bytes.
    pub fn respond_within(&self, hook: Hook, frame: &[u8], len_max: usize) -> (Verdict, Vec<u8>) {
        let mut buffer = frame.to_vec();
        // No result may depend on the bytes behind a frame, so they are not zero.
        buffer.resize(len_max.max(frame.len()), 0x5a);
        match hook {
            Hook::Xdp => {
                let mut packet = FramePacket::new(&mut buffer, frame.len()).unwrap();
                (self.decide(&mut packet), packet.frame().to_vec())
            }
            Hook::Tc(mtu) => {
                let mut packet = FramePacket::large(&mut buffer, frame.len(), mtu).unwrap();
                (self.decide(&mut packet), packet.frame().to_vec())
            }
            Hook::Observed(mtu) => {
                let packet = FramePacket::large(&mut buffer, frame.len(), mtu).unwrap();
                let mut packet = packet.observed();
                (self.decide(&mut packet), packet.frame().to_vec())
            }
        }
    }

    fn decide(&self, packet: &mut impl Packet) -> Verdict {
        let mut scratch = dirty();
        respond(packet, self, || Ok(&mut scratch))
    }
}

/// Working memory with bytes that an earlier packet may have left.
fn dirty() -> Scratch {
    let mut scratch = Scratch::default();
    scratch.image.as_mut_slice().fill(0xd1);
    scratch.key.as_mut_slice().fill(0xd2);
    scratch.content.as_mut_slice().fill(0xd3);
    scratch.question.qtype = 0xd4d4;
    scratch
}

impl Lookup for Host<'_> {
    fn config(&self) -> Option<&Config> {
        Lookup::config(self.maps)
    }

    fn state(&self) -> Option<State> {
        Lookup::state(self.maps)
    }

    fn serves(&self, config: &Config, address: &Address) -> bool {
        self.maps.serves(config, address)
    }

    fn name(
        &self,
        config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool {
        self.maps.name(config, class, key, hash, record)
    }

    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64> {
        self.maps.chunk(index, content)
    }

    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool {
        self.maps.endpoint(entry, buckets)
    }

    fn reverse(&self, bucket: u32, slots: &mut ChunkBytes) -> bool {
        Lookup::reverse(self.maps, bucket, slots)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn random(&self) -> u32 {
        self.random
    }
}
