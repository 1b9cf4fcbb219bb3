//! The table of served addresses, [`super::map::SERVED`].
//!
//! The table is an array with open addressing. Every query pays for this look-up, and a look-up in
//! the kernel's hash map costs ten times as much.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Address,
    digest::describe,
    hash::{HASH_SERVED, HashKey, KeyedHash, bucket},
};

/// Slots of [`super::map::SERVED`].
pub const SERVED_SLOTS: usize = 512;

/// Number of consecutive slots in which an address can be.
pub const SERVED_PROBES: usize = 8;

/// Most served addresses. They are so few that each finds a free slot among its
/// [`SERVED_PROBES`] slots.
pub const SERVED_MAX: u32 = 64;

/// A slot of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServedSlot {
    /// The address.
    pub address: Address,
    /// Number of the address, counted from 1. 0 in an empty slot.
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

/// The place of an address in the table: the slots in which it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedPlace {
    first: u32,
}

impl ServedPlace {
    /// The place of an address.
    #[inline(always)]
    pub const fn of(key: &HashKey, address: Address) -> Self {
        // Both words become one, because every query pays for this hash. Collisions can be made
        // on purpose, but only by operators, who choose the addresses of the cluster's DNS.
        let word = address.first.rotate_left(32) ^ address.last;
        let hash = KeyedHash::new().word(key, HASH_SERVED, word);
        Self {
            first: bucket(hash.finish_half(), SERVED_SLOTS as u32),
        }
    }

    /// The index of the slot number `probe` of this place, counted from 0 and less than
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
        // 256 random numbers would fall into some 201 of 512 slots.
        assert!(firsts.len() > 150, "{} places", firsts.len());
    }

    /// [`SERVED_MAX`] addresses find free slots under every key.
    #[test]
    fn the_most_addresses_fit() {
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
