//! The maps, and [`Lookup`] over them.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use headless_ebpf::{
    abi::{
        Address, CHUNK_BYTES, COUNTERS as COUNTERS_LEN, Chunk, Config, Counter, ENDPOINT_ENTRIES,
        EndpointBucket, EndpointEntry, INTERFACES_MAX, InterfaceRecord, KeyClass, KeyedHash,
        NameRecord, REVERSE_SLOTS, ReverseBucket, SERVED_PROBES, SERVED_SLOTS, ServedPlace,
        ServedSlot, State, TableBucket, TableHint, TablePlace, TableSlot,
    },
    maps::{Lookup, RecordWords},
    wire::{ChunkBytes, KeyBytes, frame::HEADERS_MAX},
};

use super::globals;

/// The agent maps the array into its memory and writes it by plain stores
/// (include/uapi/linux/bpf.h).
const BPF_F_MMAPABLE: u32 = 1 << 10;

// Capacities of the names and addresses are the smallest that make sense; the
// loader sets them by the size of the cluster. Elements are allocated as they
// come (`BPF_F_NO_PREALLOC`), so that room costs its buckets only.
const NAMES_MIN: u32 = 1024;

#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);
#[map]
static SERVED: Array<ServedSlot> = Array::with_max_entries(SERVED_SLOTS as u32, 0);
#[map]
static TABLE_BUCKETS: Array<TableBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static TABLE_SLOTS: Array<TableSlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);
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
static CHUNKS: Array<Chunk> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS: Array<EndpointBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static REVERSE: Array<ReverseBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static INTERFACES: HashMap<u32, InterfaceRecord> =
    HashMap::with_max_entries(INTERFACES_MAX, BPF_F_NO_PREALLOC);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_LEN, 0);

/// Headers of a packet that does not have them in one piece.
///
/// Not on the stack, of which the functions that call each other have 512 bytes
/// together.
#[map]
static HEAD: PerCpuArray<[u8; HEADERS_MAX]> = PerCpuArray::with_max_entries(1, 0);

/// Memory for headers, this CPU's own. `None` where another program may use it at the
/// same time: there such packets pass.
#[inline(always)]
pub(super) fn head() -> Option<*mut [u8; HEADERS_MAX]> {
    if globals::preemptible() {
        return None;
    }
    HEAD.get_ptr_mut(0)
}

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

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter.0) {
        // SAFETY: this CPU's own slot. Where programs can interrupt each other, a count may
        // be lost.
        unsafe { *value += 1 };
    }
}

/// What the agent knows of an interface.
#[inline(always)]
pub(crate) fn interface(ifindex: u32) -> Option<InterfaceRecord> {
    let interface: *const u64 = INTERFACES.get_ptr(ifindex)?.cast();
    // SAFETY: the element is not returned to the system while this program runs. The
    // agent may replace it: read at once, the two halves belong together.
    Some(bytemuck::cast(unsafe { interface.read_volatile() }))
}

/// Copies an element that the agent may replace meanwhile.
#[inline(always)]
fn read(from: *const NameRecord, to: &mut RecordWords) {
    let words: *const u64 = from.cast();
    for (i, to) in to.iter_mut().enumerate() {
        // SAFETY: the element is not returned to the system while this program
        // runs, though it may become another key's: each word is read once, and the
        // seal tells whether they belong together and to this key.
        *to = unsafe { words.add(i).read_volatile() };
    }
}

/// The same where there is an element.
#[inline(always)]
fn found(from: Option<*const NameRecord>, to: &mut RecordWords) -> bool {
    if let Some(from) = from {
        read(from, to);
    }
    from.is_some()
}

/// Looks up a short name: in the table, then in the map if there are any there.
#[inline(always)]
fn short(config: &Config, key: &KeyBytes, hash: KeyedHash, record: &mut RecordWords) -> bool {
    let place = TablePlace::of(hash, config.table_buckets);
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
            read(unsafe { words.add(KeyClass::Short.words()) }.cast(), record);
            return true;
        }
    }
    if !config.has_names(KeyClass::Short) {
        return false;
    }
    found(NAMES_SHORT.get_ptr(key.first_chunk()), record)
}

#[inline(always)]
fn read_state() -> Option<State> {
    let state = STATE.get_ptr(0)?;
    // SAFETY: an element of an array map lives as long as the map; the agent
    // may write it at any time, hence volatile.
    unsafe { Some(state.read_volatile()) }
}

/// Loads before come before loads behind, also where the processor may carry them out in
/// another order.
///
/// BPF has load-acquire from kernel 6.15, and atomic operations that return (and so order)
/// from 5.12. What 5.10 has is `bpf_ktime_get_ns`: it reads the clock under a sequence
/// count, between whose two reads and around whose last one stand read barriers
/// (`__ktime_get_fast_ns` in kernel/time/timekeeping.c; `smp_rmb`, `dmb ishld` on arm64,
/// which orders all loads, not the clock's alone). It costs some 20 ns, and on x86, which
/// orders loads itself, it is left out.
#[inline(always)]
fn order_loads() {
    if globals::weakly_ordered() {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() };
    }
}

/// The maps of this object.
pub(crate) struct Maps;

impl Lookup for Maps {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    /// All look-ups come behind this read.
    #[inline(always)]
    fn state(&self) -> Option<State> {
        let state = read_state();
        order_loads();
        state
    }

    #[inline(always)]
    fn state_after_lookups(&self) -> Option<State> {
        order_loads();
        read_state()
    }

    #[inline(always)]
    fn serves(&self, config: &Config, address: &Address) -> bool {
        let place = ServedPlace::of(&config.hash_key, *address);
        for probe in 0..SERVED_PROBES {
            let Some(slot) = SERVED.get(place.slot(probe)) else {
                return false;
            };
            if slot.address == *address && slot.number != 0 {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn name(
        &self,
        config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool {
        if class == KeyClass::Short {
            return short(config, key, hash, record);
        }
        config.has_names(class)
            && match class {
                KeyClass::Medium => found(NAMES_MEDIUM.get_ptr(key.first_chunk()), record),
                _ => found(NAMES_LONG.get_ptr(key.first_chunk()), record),
            }
    }

    #[inline(always)]
    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64> {
        let words: *const u64 = CHUNKS.get_ptr(index)?.cast();
        for i in 0..CHUNK_BYTES / 8 {
            // SAFETY: as in `read`.
            content.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        // SAFETY: as in `read`; the seal is the last word.
        Some(unsafe { words.add(CHUNK_BYTES / 8).read_volatile() })
    }

    /// All entries are compared without a branch, which would be as many ways through
    /// the program.
    #[inline(always)]
    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool {
        let mut found = 0;
        for bucket in buckets {
            let Some(entries) = ENDPOINTS.get_ptr(bucket) else {
                return false;
            };
            let entries: *const u64 = entries.cast();
            for i in 0..ENDPOINT_ENTRIES {
                // SAFETY: an entry of an array map lives as long as the map; the agent may
                // write it at any time, hence volatile.
                let difference = unsafe { entries.add(i).read_volatile() } ^ entry.0;
                // The sign of `difference - 1`, where the difference has not the highest
                // bit: only of zero.
                found |= difference.wrapping_sub(1) & !difference;
            }
        }
        found >> 63 != 0
    }

    #[inline(always)]
    fn reverse(&self, bucket: u32, slots: &mut ChunkBytes) -> bool {
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
        // SAFETY: this CPU's own slot; helpers without arguments.
        // The JIT turns `bpf_jiffies64` into a load (kernel commit
        // `5576b991e9c1`).
        unsafe {
            let jiffies = bpf_jiffies64();
            if (*cpu).jiffies != jiffies {
                // The time before its tick: a program that interrupts this one may read
                // the clock twice, but never takes an old time for a new one.
                (*cpu).now_ns = bpf_ktime_get_ns();
                compiler_fence(Ordering::SeqCst);
                (*cpu).jiffies = jiffies;
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
        // SAFETY: this CPU's own slot; a helper without arguments.
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
}
