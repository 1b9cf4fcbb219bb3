//! The maps, and [`Lookup`] over them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use headless_ebpf::{
    abi::{
        CHUNK_BYTES, COUNTERS as COUNTERS_LEN, Chunk, ChunkKey, Config, Counter, INTERFACES_MAX,
        Interface, KeyClass, NameRecord, REVERSE_SLOTS, ReverseBucket, SERVER_PROBES, SERVER_SLOTS,
        Seal, ServerAddress, ServerSlot, State, TableBucket, TableHint, TablePlace, TableSlot,
    },
    lookup::{Lookup, RecordWords},
    respond::{self, Scratch},
    wire::{AddressBytes, HEADERS_MAX, KeyBytes, Large, Room, Small},
};

// Capacities of the names and addresses are the smallest that make sense; the
// loader sets them by the size of the cluster. Elements are allocated as they
// come (`BPF_F_NO_PREALLOC`), so that room costs its buckets only.
const NAMES_MIN: u32 = 1024;

#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);
#[map]
static SERVERS: Array<ServerSlot> = Array::with_max_entries(SERVER_SLOTS as u32, 0);
#[map]
static TABLE_BUCKETS: Array<TableBucket> = Array::with_max_entries(1, 0);
#[map]
static TABLE_SLOTS: Array<TableSlot> = Array::with_max_entries(1, 0);
#[map]
static NAMES_SHORT: HashMap<[u8; KeyClass::Short.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static NAMES_MEDIUM: HashMap<[u8; KeyClass::Medium.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static NAMES_LONG: HashMap<[u8; KeyClass::Long.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static CHUNKS: HashMap<ChunkKey, Chunk> = HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static REVERSE: Array<ReverseBucket> = Array::with_max_entries(1, 0);
#[map]
static INTERFACES: HashMap<u32, Interface> =
    HashMap::with_max_entries(INTERFACES_MAX, BPF_F_NO_PREALLOC);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_LEN, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Headers of a packet that does not have them in one piece.
///
/// Not on the stack, of which the functions that call each other have 512 bytes
/// together.
#[map]
static HEAD: PerCpuArray<[u8; HEADERS_MAX]> = PerCpuArray::with_max_entries(1, 0);

/// Room for headers, this CPU's own.
#[inline(always)]
pub(super) fn head() -> Option<*mut [u8; HEADERS_MAX]> {
    HEAD.get_ptr_mut(0)
}

/// Whether the programs log: set by the loader before the program is verified,
/// which then removes the code that is never reached.
#[unsafe(no_mangle)]
static LOG: u8 = 0;

/// What a CPU remembers from packet to packet, to be spared calls of helpers:
/// where returns are guarded against speculation, each costs some 20 ns.
#[derive(Clone, Copy)]
#[repr(C)]
struct CpuState {
    /// The tick in which the clock was read.
    jiffies: u64,
    /// What it said, `CLOCK_MONOTONIC` in nanoseconds.
    now_ns: u64,
    /// State of the generator of [`Lookup::random`].
    random: u64,
}

#[map]
static CPU_STATE: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);

/// Whether to log; costs nothing when off.
#[inline(always)]
pub(crate) fn logging() -> bool {
    // SAFETY: read-only memory of the object. Volatile, because the compiler
    // must not take the initial value for the value.
    unsafe { (&raw const LOG).read_volatile() != 0 }
}

/// Working memory of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the slot is this CPU's own, packets on one CPU are processed one
    // after the other (XDP and tc run with bottom halves disabled), and each
    // program asks once per packet.
    SCRATCH
        .get_ptr_mut(0)
        .map(|scratch| unsafe { &mut *scratch })
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter.0) {
        // SAFETY: this CPU's own slot, see `scratch`.
        unsafe { *value += 1 };
    }
}

/// What the agent knows of an interface.
#[inline(always)]
pub(crate) fn interface(ifindex: u32) -> Option<Interface> {
    let interface: *const u64 = INTERFACES.get_ptr(ifindex)?.cast();
    // SAFETY: the element is not returned to the system while this program runs. The
    // agent may replace it: read at once, the two halves belong together.
    Some(bytemuck::cast(unsafe { interface.read_volatile() }))
}

/// Reads an element that the agent may replace meanwhile.
#[inline(always)]
fn read(record: *const NameRecord) -> RecordWords {
    let words: *const u64 = record.cast();
    // SAFETY: the element is not returned to the system while this program
    // runs, though it may become another key's: each word is read once, and the
    // seal tells whether they belong together and to this key.
    unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    }
}

/// Looks up a short name: in the table, then in the map if there are any there.
#[inline(always)]
fn short(key: &KeyBytes, seal: Seal) -> Option<RecordWords> {
    let config = CONFIG.get(0)?;
    let place = TablePlace::of(seal, config.table_buckets);
    for bucket in place.buckets {
        let Some(hints) = TABLE_BUCKETS.get_ptr(bucket) else {
            break;
        };
        let hints: *const u64 = hints.cast();
        // SAFETY: an entry of an array map lives as long as the map; the agent may
        // write it at any time, hence volatile.
        let hints = unsafe {
            [
                TableHint(hints.read_volatile()),
                TableHint(hints.add(1).read_volatile()),
                TableHint(hints.add(2).read_volatile()),
                TableHint(hints.add(3).read_volatile()),
            ]
        };
        let slot = TableHint::choose(hints, place);
        if slot == 0 {
            continue;
        }
        let Some(slot) = TABLE_SLOTS.get_ptr(slot - 1) else {
            continue;
        };
        let words: *const u64 = slot.cast();
        let mut difference = 0;
        for i in 0..KeyClass::Short.words() {
            // SAFETY: as above.
            difference |= key.u64_at(i * 8) ^ unsafe { words.add(i).read_volatile() };
        }
        if difference == 0 {
            // SAFETY: the record is behind the key.
            return Some(read(unsafe { words.add(KeyClass::Short.words()) }.cast()));
        }
    }
    if config.spilled == 0 {
        return None;
    }
    NAMES_SHORT.get_ptr(key.first_chunk()).map(read)
}

/// [`respond::apart`] as functions with global linkage, which the verifier looks
/// at by themselves (kernel commit `51c39bb1d5d1`). They can be given numbers only,
/// so they find their working memory themselves.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_apart_small(_unused: u64) -> u64 {
    apart::<Small>()
}

/// The same where there is more room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_apart_large(_unused: u64) -> u64 {
    apart::<Large>()
}

/// [`respond::apart_reverse`] in the same way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headless_reverse(_unused: u64) -> u64 {
    match scratch() {
        Some(scratch) => respond::apart_reverse(scratch, &Maps),
        None => u64::MAX,
    }
}

#[inline(always)]
fn apart<R: Room>() -> u64 {
    match scratch() {
        Some(scratch) => respond::apart::<R, Maps>(scratch, &Maps),
        None => u64::MAX,
    }
}

/// The maps of this object.
pub(crate) struct Maps;

impl Lookup for Maps {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn state(&self) -> Option<State> {
        let state = STATE.get_ptr(0)?;
        // SAFETY: an entry of an array map lives as long as the map; the agent
        // may write it at any time, hence volatile.
        unsafe { Some(state.read_volatile()) }
    }

    #[inline(always)]
    fn serves(&self, address: &ServerAddress) -> bool {
        for probe in 0..SERVER_PROBES {
            let Some(slot) = SERVERS.get(address.probe(probe) as u32) else {
                return false;
            };
            if slot.address == *address && slot.number != 0 {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn name(&self, class: KeyClass, key: &KeyBytes, seal: Seal) -> Option<RecordWords> {
        match class {
            KeyClass::Short => short(key, seal),
            KeyClass::Medium => NAMES_MEDIUM.get_ptr(key.first_chunk()).map(read),
            KeyClass::Long => NAMES_LONG.get_ptr(key.first_chunk()).map(read),
        }
    }

    #[inline(always)]
    fn chunk(&self, key: ChunkKey, addresses: &mut AddressBytes) -> Option<u64> {
        let words: *const u64 = CHUNKS.get_ptr(key)?.cast();
        for i in 0..CHUNK_BYTES / 8 {
            // SAFETY: as in `read`.
            addresses.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        // SAFETY: as in `read`; the seal is the last word.
        Some(unsafe { words.add(CHUNK_BYTES / 8).read_volatile() })
    }

    #[inline(always)]
    fn reverse(&self, bucket: u32, slots: &mut AddressBytes) -> bool {
        let Some(words) = REVERSE.get_ptr(bucket) else {
            return false;
        };
        let words: *const u64 = words.cast();
        for i in 0..REVERSE_SLOTS {
            // SAFETY: an entry of an array map lives as long as the map; the agent may
            // write it at any time, hence volatile.
            slots.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        true
    }

    /// The time of this tick's first call: exact enough for a lease of seconds.
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        let Some(cpu) = CPU_STATE.get_ptr_mut(0) else {
            return u64::MAX;
        };
        // SAFETY: this CPU's own slot, see `scratch`; helpers without arguments.
        // The JIT turns `bpf_jiffies64` into a load (kernel commit
        // `5576b991e9c1`).
        unsafe {
            let jiffies = bpf_jiffies64();
            if (*cpu).jiffies != jiffies {
                (*cpu).jiffies = jiffies;
                (*cpu).now_ns = bpf_ktime_get_ns();
            }
            (*cpu).now_ns
        }
    }

    /// A linear congruential generator (Knuth's MMIX), seeded from the kernel's
    /// on its first use: good enough to spread clients over addresses.
    #[inline(always)]
    fn random(&self) -> u32 {
        let Some(cpu) = CPU_STATE.get_ptr_mut(0) else {
            return 0;
        };
        // SAFETY: this CPU's own slot, see `scratch`; a helper without arguments.
        unsafe {
            if (*cpu).random == 0 {
                (*cpu).random = u64::from(bpf_get_prandom_u32()) << 1 | 1;
            }
            (*cpu).random = (*cpu)
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((*cpu).random >> 32) as u32
        }
    }

    #[inline(always)]
    fn apart<R: Room>(&self, _scratch: &mut Scratch) -> u64 {
        // The memory that is passed is the one that is found there.
        if R::MESSAGE_MAX == Small::MESSAGE_MAX {
            headless_apart_small(0)
        } else {
            headless_apart_large(0)
        }
    }

    #[inline(always)]
    fn apart_reverse(&self, _scratch: &mut Scratch) -> u64 {
        headless_reverse(0)
    }
}
