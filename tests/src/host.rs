//! The engine on the host, over maps in memory, with a clock and a chance that
//! the test decides.

use headless_agent::maps::memory::MemorySink;
use headless_ebpf::abi::{ChunkKey, Config, KeyClass, Path, Seal, ServerAddress, State};
use headless_ebpf::lookup::{Lookup, RecordWords};
use headless_ebpf::respond::{Scratch, Verdict, respond};
use headless_ebpf::wire::{AddressBytes, FramePacket, KeyBytes, Packet};

/// Room for a frame to grow in.
const BUFFER: usize = 8192;

/// A program in which the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The XDP program.
    Xdp,
    /// The tc program, on an interface of this MTU.
    Tc(u32),
}

impl Home {
    /// Whose counters move.
    pub const fn path(self) -> Path {
        match self {
            Self::Xdp => Path::Xdp,
            Self::Tc(_) => Path::Tc,
        }
    }
}

/// What the engine looks things up in.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The maps.
    pub maps: &'a MemorySink,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub now_ns: u64,
    /// What every dice shows.
    pub random: u32,
}

impl<'a> Host<'a> {
    /// At the beginning of time.
    pub fn new(maps: &'a MemorySink) -> Self {
        Self {
            maps,
            now_ns: 0,
            random: 0,
        }
    }

    /// The same with a dice that makes the reply begin with address `start` of
    /// `total`.
    #[must_use]
    pub fn starting(self, start: u32, total: u32) -> Self {
        let random = (u64::from(start) << 32).div_ceil(total.into());
        Self {
            random: u32::try_from(random).expect("start is less than total"),
            ..self
        }
    }

    /// What becomes of a frame, and the frame afterwards.
    pub fn respond(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.respond_in(Home::Xdp, frame)
    }

    /// The same as this program would have it.
    pub fn respond_in(&self, home: Home, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.respond_within(home, frame, BUFFER)
    }

    /// The same where the frame can only grow to `room` bytes.
    pub fn respond_within(&self, home: Home, frame: &[u8], room: usize) -> (Verdict, Vec<u8>) {
        let mut buffer = frame.to_vec();
        // What is in memory behind a frame is nobody's business.
        buffer.resize(room.max(frame.len()), 0x5a);
        match home {
            Home::Xdp => {
                let mut packet = FramePacket::new(&mut buffer, frame.len()).unwrap();
                (self.decide(&mut packet), packet.frame().to_vec())
            }
            Home::Tc(mtu) => {
                let mut packet = FramePacket::large(&mut buffer, frame.len(), mtu).unwrap();
                (self.decide(&mut packet), packet.frame().to_vec())
            }
        }
    }

    fn decide(&self, packet: &mut impl Packet) -> Verdict {
        let mut scratch = dirty();
        respond(packet, self, || Some(&mut scratch))
    }
}

/// Working memory as an earlier packet may have left it.
fn dirty() -> Scratch {
    let mut scratch = Scratch::default();
    scratch.image.as_mut_slice().fill(0xd1);
    scratch.key.as_mut_slice().fill(0xd2);
    scratch.addresses.as_mut_slice().fill(0xd3);
    scratch.question.qtype = 0xd4d4;
    scratch
}

impl Lookup for Host<'_> {
    fn config(&self) -> Option<&Config> {
        self.maps.config()
    }

    fn state(&self) -> Option<State> {
        self.maps.state()
    }

    fn serves(&self, address: &ServerAddress) -> bool {
        self.maps.serves(address)
    }

    fn name(&self, class: KeyClass, key: &KeyBytes, seal: Seal) -> Option<RecordWords> {
        Lookup::name(self.maps, class, key, seal)
    }

    fn chunk(&self, key: ChunkKey, words: &mut AddressBytes) -> Option<u64> {
        Lookup::chunk(self.maps, key, words)
    }

    fn reverse(&self, bucket: u32, slots: &mut AddressBytes) -> bool {
        Lookup::reverse(self.maps, bucket, slots)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn random(&self) -> u32 {
        self.random
    }
}
