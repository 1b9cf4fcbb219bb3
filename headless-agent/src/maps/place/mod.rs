//! Where names stand in the maps, and which elements are free.
//!
//! - [`table`]: slots and hints of short keys.
//! - [`endpoints`]: entries of regular endpoints.
//! - [`extents`]: free runs of chunks. [`sets`] writes the chunks of a name to them.
//! - [`name_chunks`]: the chunks with Services' names, to which hints of `REVERSE` lead.
//! - [`record`]: the record of a key, in the table or in a hash map, and its extent.

pub(super) mod endpoints;
pub(super) mod extents;
pub(super) mod name_chunks;
pub(super) mod record;
pub(super) mod sets;
pub(super) mod table;

/// The outcome of storing an entry in one of its two buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The entry is new. Its place has this number among all places of all buckets.
    New(usize),
    /// The entry was there before, in the place with this number.
    Replaced(usize),
    /// The entry has no place.
    NoRoom,
}

/// A place in a bucket: bucket, and number in the bucket.
pub(super) type BucketPlace = (u32, usize);

/// A free place in the emptier of two buckets, each with its number. `None` if both are full.
///
/// With two buckets to choose from, buckets fill evenly ("The Power of Two Choices in
/// Randomized Load Balancing", Mitzenmacher 2001).
fn emptier<T, const N: usize>(
    buckets: &[(u32, [T; N]); 2],
    is_free: impl Fn(&T) -> bool,
) -> Option<BucketPlace> {
    let mut best: Option<(BucketPlace, usize)> = None;
    for (bucket, places) in buckets {
        let Some(at) = places.iter().position(&is_free) else {
            continue;
        };
        let free = places.iter().filter(|place| is_free(place)).count();
        if best.is_none_or(|(_, most)| free > most) {
            best = Some(((*bucket, at), free));
        }
    }
    best.map(|(place, _)| place)
}
