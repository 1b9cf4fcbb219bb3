//! How many entries the maps have, and how much memory these take.

use headless_ebpf::abi::{
    Chunk, ENDPOINT_ENTRIES, REVERSE_SLOTS, SERVED_MAX, SERVED_SLOTS, ServedSlot, TABLE_HINTS,
    TableSlot,
};

use super::kind::MapKind;

/// How many entries the maps have. The numbers of elements of `INTERFACES`, `SERVED` and
/// the maps of one element are fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacities {
    /// Slots of the table: records of keys of up to 40 bytes.
    pub table_slots: u32,
    /// Records of such keys in the hash map behind the table.
    pub names_short: u32,
    /// Records of keys of up to 104 bytes.
    pub names_medium: u32,
    /// Records of keys of up to 248 bytes.
    pub names_long: u32,
    /// Chunks. The chunk at index 0 is never used, because a hint of `REVERSE` with index 0
    /// is an empty one.
    pub chunks: u32,
    /// Buckets of regular endpoints.
    pub endpoint_buckets: u32,
    /// Buckets of hints for reverse names. With none, the programs answer no reverse names.
    pub reverse_buckets: u32,
}

/// Bytes of a page. The kernel gives arrays whole pages.
const PAGE: u64 = 4096;

impl Capacities {
    /// Buckets of the table. They have twice as many hints as there are slots. So one of a
    /// name's two buckets has a free hint for all but one in a thousand names (tests of
    /// `abi::TablePlace`).
    pub fn table_buckets(&self) -> u32 {
        self.table_slots.div_ceil(TABLE_HINTS as u32 / 2)
    }

    /// Capacity of a map.
    pub fn entries(&self, map: MapKind) -> u64 {
        match map {
            MapKind::NamesShort => self.names_short.into(),
            MapKind::NamesMedium => self.names_medium.into(),
            MapKind::NamesLong => self.names_long.into(),
            MapKind::Chunks => u64::from(self.chunks).saturating_sub(1),
            MapKind::Served => SERVED_MAX.into(),
            MapKind::Reverse => u64::from(self.reverse_buckets) * REVERSE_SLOTS as u64,
            MapKind::Table => self.table_slots.into(),
            MapKind::Endpoints => u64::from(self.endpoint_buckets) * ENDPOINT_ENTRIES as u64,
        }
    }

    /// Estimate of the kernel memory in bytes that a map takes with this many entries.
    ///
    /// An array has all its memory from the start. A hash map has 16 bytes for each bucket,
    /// and the number of buckets is a power of two. Each entry takes 48 bytes of header
    /// (`struct htab_elem`), key, value and a node of the free list, rounded up to a size of
    /// `bpf_mem_alloc` (kernel commit `7c8199e24fa0`).
    pub fn bytes(&self, map: MapKind, entries: u64) -> u64 {
        let array = |elements: u32, bytes: usize| {
            (u64::from(elements) * bytes as u64).next_multiple_of(PAGE)
        };
        let hash = |capacity: u32, bytes: u64| {
            entries * bytes + u64::from(capacity).next_power_of_two() * 16
        };
        match map {
            MapKind::NamesShort => hash(self.names_short, 192),
            MapKind::NamesMedium => hash(self.names_medium, 256),
            MapKind::NamesLong => hash(self.names_long, 512),
            MapKind::Chunks => array(self.chunks, size_of::<Chunk>()),
            MapKind::Served => array(SERVED_SLOTS as u32, size_of::<ServedSlot>()),
            MapKind::Reverse => array(self.reverse_buckets, REVERSE_SLOTS * 8),
            MapKind::Table => {
                array(self.table_slots, size_of::<TableSlot>())
                    + array(self.table_buckets(), TABLE_HINTS * 8)
            }
            MapKind::Endpoints => array(self.endpoint_buckets, ENDPOINT_ENTRIES * 8),
        }
    }

    /// Estimate of the kernel memory in bytes that all maps take when all are full.
    pub fn total_bytes(&self) -> u64 {
        let bytes = |map: MapKind| self.bytes(map, self.entries(map));
        MapKind::ALL.into_iter().map(bytes).sum()
    }
}
