//! The served addresses: those whose port 53 is answered.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Address,
    digest::describe,
    hash::{HASH_SERVED, HashKey, KeyedHash, bucket},
};

/// Slots of [`super::map::SERVED`].
pub const SERVED_SLOTS: usize = 512;

/// Slots in which an address can be, from its first one on.
pub const SERVED_PROBES: usize = 8;

/// Most served addresses: few enough for [`SERVED_SLOTS`] that each finds a free slot
/// among its [`SERVED_PROBES`].
pub const SERVED_MAX: u32 = 64;

/// A slot of the table of served addresses, which has open addressing.
///
/// An array and a hash of our own: every query pays for this look-up, and a look-up in
/// the kernel's hash map costs ten times as much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServedSlot {
    /// The address.
    pub address: Address,
    /// The address's number, counted from 1; 0 in an empty slot.
    pub number: u32,
    /// Zero.
    pub spare: u32,
}

const _: () = assert!(size_of::<ServedSlot>() == 24);

describe!(ServedSlot {
    address: Address,
    number: u32,
    spare: u32,
});

/// The slots in which a served address can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedPlace {
    first: u32,
}

impl ServedPlace {
    /// The place of an address.
    #[inline(always)]
    pub const fn of(key: &HashKey, address: Address) -> Self {
        // One word of both: every query pays for this, and whoever chooses the cluster's
        // DNS addresses has no need of collisions.
        let word = address.first.rotate_left(32) ^ address.last;
        let hash = KeyedHash::new().word(key, HASH_SERVED, word);
        Self {
            first: bucket(hash.finish_half(), SERVED_SLOTS as u32),
        }
    }

    /// The slot that is looked at as number `probe`, counted from 0 and below
    /// [`SERVED_PROBES`].
    #[inline(always)]
    pub const fn slot(self, probe: usize) -> u32 {
        (self.first + probe as u32) % SERVED_SLOTS as u32
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::IpAddr;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn places_are_in_the_table() {
        let key = HashKey::from_seed(1);
        let mut firsts = BTreeSet::new();
        for host in 0..=u8::MAX {
            let address = Address::from(IpAddr::from([10, 96, 0, host]));
            let place = ServedPlace::of(&key, address);
            assert!((0..SERVED_PROBES).all(|probe| (place.slot(probe) as usize) < SERVED_SLOTS));
            firsts.insert(place.slot(0));
        }
        // Chance would leave some 201 of 512.
        assert!(firsts.len() > 150, "{} places", firsts.len());
    }

    /// As many addresses as there may be find slots, whatever the key.
    #[test]
    fn the_most_addresses_have_room() {
        for seed in 0..200 {
            let key = HashKey::from_seed(seed);
            let mut taken = [false; SERVED_SLOTS];
            for host in 0..SERVED_MAX {
                let address = Address::from(IpAddr::from([10, 96, 0, host as u8]));
                let place = ServedPlace::of(&key, address);
                let free = (0..SERVED_PROBES).find(|probe| !taken[place.slot(*probe) as usize]);
                let probe = free.unwrap_or_else(|| panic!("no slot for {host} under {seed}"));
                taken[place.slot(probe) as usize] = true;
            }
        }
    }
}
