//! The maps, and [`Lookup`] over them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use headless_ebpf::{
    abi::{
        AddressChunk, CHUNK_BYTES, COUNTERS as COUNTERS_LEN, ChunkKey, Config, Counter, KeyClass,
        NameRecord, SERVER_PROBES, SERVER_SLOTS, ServerAddress, ServerSlot, State,
    },
    lookup::{Lookup, RecordWords},
    respond::Scratch,
    wire::{AddressBytes, KeyBytes},
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
static NAMES_SHORT: HashMap<[u8; KeyClass::Short.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static NAMES_MEDIUM: HashMap<[u8; KeyClass::Medium.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static NAMES_LONG: HashMap<[u8; KeyClass::Long.bytes()], NameRecord> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static ADDRESSES: HashMap<ChunkKey, AddressChunk> =
    HashMap::with_max_entries(NAMES_MIN, BPF_F_NO_PREALLOC);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_LEN, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Whether the programs log: set by the loader before the program is verified,
/// which then removes the code that is never reached.
#[unsafe(no_mangle)]
static LOG: u8 = 0;

/// Whether the kernel has `bpf_ktime_get_coarse_ns` (5.11, commit
/// `d05512618056`): set by the loader. The time of the last tick is exact enough
/// for a lease of seconds and costs a tenth.
#[unsafe(no_mangle)]
static COARSE_CLOCK: u8 = 0;

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
    fn name(&self, class: KeyClass, key: &KeyBytes) -> Option<RecordWords> {
        match class {
            KeyClass::Short => NAMES_SHORT.get_ptr(key.first_chunk()).map(read),
            KeyClass::Medium => NAMES_MEDIUM.get_ptr(key.first_chunk()).map(read),
            KeyClass::Long => NAMES_LONG.get_ptr(key.first_chunk()).map(read),
        }
    }

    #[inline(always)]
    fn chunk(&self, key: ChunkKey, addresses: &mut AddressBytes) -> Option<u64> {
        let words: *const u64 = ADDRESSES.get_ptr(&key)?.cast();
        for i in 0..CHUNK_BYTES / 8 {
            // SAFETY: as in `read`.
            addresses.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        // SAFETY: as in `read`; the seal is the last word.
        Some(unsafe { words.add(CHUNK_BYTES / 8).read_volatile() })
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: read-only memory of the object, see `logging`; helpers without
        // arguments. On an older kernel the verifier knows that the first is not
        // reached, and does not look at it.
        unsafe {
            if (&raw const COARSE_CLOCK).read_volatile() != 0 {
                bpf_ktime_get_coarse_ns()
            } else {
                bpf_ktime_get_ns()
            }
        }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }
}
