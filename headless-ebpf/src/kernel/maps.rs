//! The BPF maps, and [`Lookup`] over them. [`headless_ebpf::abi::map`] describes each map.

use core::{
    arch::asm,
    sync::atomic::{Ordering, compiler_fence},
};

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

/// Flag of arrays that the agent maps into its memory and writes by plain stores
/// (include/uapi/linux/bpf.h).
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Capacity of the hash maps of names in the object. The agent's loader replaces this and the
/// capacities of 1 by capacities that follow the size of the cluster. The hash maps allocate
/// an element when it is written (`BPF_F_NO_PREALLOC`), so that free capacity costs its
/// buckets only.
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
static CONNECTIONS: HashMap<u32, u64> =
    HashMap::with_max_entries(INTERFACES_MAX, BPF_F_NO_PREALLOC);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_LEN, 0);

/// A copy of a packet's headers, for socket buffers that do not hold them in one piece. The
/// stack of 512 bytes has no space left for it.
#[map]
static HEAD: PerCpuArray<[u8; HEADERS_MAX]> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's memory for headers. `None` where another program may use it at the same time, and
/// packets whose headers are not in one piece then pass.
#[inline(always)]
pub(super) fn head() -> Option<*mut [u8; HEADERS_MAX]> {
    if globals::preemptible() {
        return None;
    }
    HEAD.get_ptr_mut(0)
}

/// Values that a CPU keeps from packet to packet in order to save calls of helpers. A call
/// costs some 20 ns where the kernel guards returns against speculation.
#[derive(Clone, Copy)]
#[repr(C)]
struct CpuState {
    /// The tick in which the clock was last read.
    jiffies: u64,
    /// The time that was read, `CLOCK_MONOTONIC` in nanoseconds.
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
        // SAFETY: the element belongs to this CPU. Where programs can interrupt each other, a
        // count may be lost.
        unsafe { *value += 1 };
    }
}

/// Adds one to the TCP connections of an interface, if the agent has given the interface a
/// counter.
#[inline(always)]
pub(crate) fn count_connection(ifindex: u32) {
    if let Some(counter) = CONNECTIONS.get_ptr_mut(ifindex) {
        // SAFETY: the kernel does not free the element while this program runs. Several CPUs may
        // count at the same time.
        unsafe { add(counter, 1) };
    }
}

/// Adds to a number in a map by one atomic instruction. The atomic types of `core` would use an
/// instruction that returns the old value, which kernel 5.10 does not have.
///
/// # Safety
/// `number` leads to an element of a map.
#[inline(always)]
pub(super) unsafe fn add(number: *mut u64, addend: i64) {
    // SAFETY: an element of a map is aligned to eight bytes and lives as long as the map.
    unsafe {
        asm!("lock *(u64 *)({} + 0) += {}", in(reg) number, in(reg) addend, options(nostack));
    }
}

/// The record of an interface. `None` where the agent has written none.
#[inline(always)]
pub(crate) fn interface(ifindex: u32) -> Option<InterfaceRecord> {
    let interface: *const u64 = INTERFACES.get_ptr(ifindex)?.cast();
    // SAFETY: the kernel does not free the element while this program runs. The agent may
    // replace it, so that all eight bytes are read by one load.
    Some(bytemuck::cast(unsafe { interface.read_volatile() }))
}

/// Copies a record, which the agent may replace at the same time.
#[inline(always)]
fn read(from: *const NameRecord, to: &mut RecordWords) {
    let words: *const u64 = from.cast();
    for (i, to) in to.iter_mut().enumerate() {
        // SAFETY: the kernel does not free the element while this program runs, though it may
        // reuse it for another key. Each word is read once. The seal shows whether the words
        // belong together and to the key.
        *to = unsafe { words.add(i).read_volatile() };
    }
}

/// Copies a record if there is one. Returns whether there is one.
#[inline(always)]
fn read_if_found(from: Option<*const NameRecord>, to: &mut RecordWords) -> bool {
    if let Some(from) = from {
        read(from, to);
    }
    from.is_some()
}

/// Looks up a key of at most 40 bytes in the table, and then in [`NAMES_SHORT`] if that map is
/// in use. Copies its record and returns whether there is one.
#[inline(always)]
fn look_up_short(
    config: &Config,
    key: &KeyBytes,
    hash: KeyedHash,
    record: &mut RecordWords,
) -> bool {
    let place = TablePlace::of(hash, config.table_buckets);
    for bucket in place.buckets {
        let Some(hints) = TABLE_BUCKETS.get_ptr(bucket) else {
            break;
        };
        let hints: *const u64 = hints.cast();
        // SAFETY: an element of an array lives as long as the map. The reads are volatile, since
        // the agent may write the element at any time.
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
            // SAFETY: an element of an array lives as long as the map, and the slot has these
            // words.
            difference |= key.u64_at(i * 8) ^ unsafe { words.add(i).read_volatile() };
        }
        if difference == 0 {
            // SAFETY: the record follows the key in the slot.
            read(unsafe { words.add(KeyClass::Short.words()) }.cast(), record);
            return true;
        }
    }
    if !config.has_names(KeyClass::Short) {
        return false;
    }
    read_if_found(NAMES_SHORT.get_ptr(key.first_chunk()), record)
}

/// Reads the agent's state.
#[inline(always)]
fn read_state() -> Option<State> {
    let state = STATE.get_ptr(0)?;
    // SAFETY: an element of an array lives as long as the map. The read is volatile, since the
    // agent may write the element at any time.
    unsafe { Some(state.read_volatile()) }
}

/// A barrier: all loads before this call happen before all loads after it.
///
/// BPF has load-acquire from kernel 6.15, and atomic operations that return a value, and so
/// order loads, from 5.12. Kernel 5.10 has `bpf_ktime_get_ns`: it reads the clock under a
/// sequence count, with read barriers around these reads (`__ktime_get_fast_ns` in
/// kernel/time/timekeeping.c). The barrier is `smp_rmb`, on arm64 `dmb ishld`, which orders all
/// loads and not only the clock's. The call costs some 20 ns. x86 never reorders loads
/// and does without.
#[inline(always)]
fn order_loads() {
    if globals::weakly_ordered() {
        // SAFETY: the helper has no arguments.
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

    /// All later look-ups happen after this read.
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
            return look_up_short(config, key, hash, record);
        }
        config.has_names(class)
            && match class {
                KeyClass::Medium => read_if_found(NAMES_MEDIUM.get_ptr(key.first_chunk()), record),
                _ => read_if_found(NAMES_LONG.get_ptr(key.first_chunk()), record),
            }
    }

    #[inline(always)]
    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64> {
        let words: *const u64 = CHUNKS.get_ptr(index)?.cast();
        for i in 0..CHUNK_BYTES / 8 {
            // SAFETY: an element of an array lives as long as the map. The read is volatile,
            // since the agent may write the element at any time. The seal shows whether the
            // words belong together.
            content.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        // SAFETY: an element of an array lives as long as the map, and its last word is the
        // seal.
        Some(unsafe { words.add(CHUNK_BYTES / 8).read_volatile() })
    }

    /// Compares all entries of both buckets without a branch. A branch for each entry would
    /// multiply the control-flow paths.
    #[inline(always)]
    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool {
        let mut found = 0;
        for bucket in buckets {
            let Some(entries) = ENDPOINTS.get_ptr(bucket) else {
                return false;
            };
            let entries: *const u64 = entries.cast();
            for i in 0..ENDPOINT_ENTRIES {
                // SAFETY: an element of an array lives as long as the map. The read is
                // volatile, since the agent may write the element at any time.
                let difference = unsafe { entries.add(i).read_volatile() } ^ entry.0;
                // The highest bit is set only if the difference is zero: `difference - 1` wraps
                // around, and the difference itself does not have this bit.
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
            // SAFETY: an element of an array lives as long as the map. The read is volatile,
            // since the agent may write the element at any time.
            slots.put_u64(i * 8, unsafe { words.add(i).read_volatile() });
        }
        true
    }

    /// The time at this tick's first call. A tick takes at most 10 ms, which is exact enough for
    /// a lease of seconds.
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        let Some(cpu) = CPU_STATE.get_ptr_mut(0) else {
            return u64::MAX;
        };
        // The kernel replaces a call of `bpf_jiffies64` by a load (kernel commit
        // `5576b991e9c1`).
        //
        // SAFETY: the element belongs to this CPU, and the helpers have no arguments.
        unsafe {
            let jiffies = bpf_jiffies64();
            if (*cpu).jiffies != jiffies {
                // The time is stored before its tick. A program that interrupts this one here
                // reads the clock again, but never takes an old time for a new one.
                (*cpu).now_ns = bpf_ktime_get_ns();
                compiler_fence(Ordering::SeqCst);
                (*cpu).jiffies = jiffies;
            }
            (*cpu).now_ns
        }
    }

    /// A linear congruential generator (Knuth's MMIX), seeded by the kernel's generator on its
    /// first use. It is good enough to spread clients over addresses.
    #[inline(always)]
    fn random(&self) -> u32 {
        let Some(cpu) = CPU_STATE.get_ptr_mut(0) else {
            return 0;
        };
        // SAFETY: the element belongs to this CPU, and the helper has no arguments.
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
