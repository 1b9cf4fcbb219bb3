//! The plan: how many elements each namespace gives up, and which Services yield for that.

use std::collections::HashMap;

use super::{Budget, Held, Level, Namespace, Room, Share};

impl Budget {
    /// How much each namespace should give up so that a room with `used` elements comes down to
    /// `target`: the largest namespaces come down to a common level. The level is never below an
    /// equal share, even if some elements belong to nobody.
    pub(in crate::maps) fn shares(&self, room: Room, used: u64, target: u64) -> Vec<Share> {
        let equal = target / self.holders(room).max(1);
        self.shares_above(room, used.saturating_sub(target), equal)
    }

    /// Number of namespaces that hold elements of a room.
    pub(in crate::maps) fn holders(&self, room: Room) -> u64 {
        let namespaces = self.namespaces.iter();
        let holders = namespaces.filter(|(_, it)| it.elements[room as usize] > 0);
        holders.count() as u64
    }

    /// How much each namespace should give up so that the largest come down to a common level,
    /// and together give up `excess` elements. The level is never below `floor`.
    pub(in crate::maps) fn shares_above(&self, room: Room, excess: u64, floor: u64) -> Vec<Share> {
        let of = |(id, namespace): (usize, &Namespace)| Share {
            namespace: id as u32,
            elements: namespace.elements[room as usize],
        };
        let mut shares: Vec<Share> = self.namespaces.iter().map(of).collect();
        shares.retain(|share| share.elements > 0);
        shares.sort_unstable_by_key(|share| std::cmp::Reverse(share.elements));
        let (mut sum, mut level) = (0, 0);
        for at in 0..shares.len() {
            sum += shares[at].elements;
            let count = at as u64 + 1;
            level = sum.saturating_sub(excess) / count;
            let next = shares.get(at + 1).map_or(0, |next| next.elements);
            if level >= next {
                shares.truncate(at + 1);
                break;
            }
        }
        for share in &mut shares {
            share.elements = share.elements.saturating_sub(level.max(floor));
        }
        shares.retain(|share| share.elements > 0);
        shares
    }

    /// The Services of these namespaces that hold elements of a room below their own names, the
    /// largest first, then the newest. No more Services than the shares need.
    pub(in crate::maps) fn largest(&mut self, room: Room, shares: &[Share]) -> Vec<u32> {
        self.choose(shares, |held| match room {
            Room::Reverse if held.level != Level::Whole => 0,
            _ => held.below(room),
        })
    }

    /// Number of elements of a room that the Services of each namespace hold below their own
    /// names.
    pub(in crate::maps) fn below(&mut self, room: Room) -> HashMap<u32, u64> {
        self.visited += self.services.len() as u64;
        let mut below = HashMap::new();
        for held in self.services.values() {
            *below.entry(held.namespace).or_default() += u64::from(held.below(room));
        }
        below
    }

    /// The Services of these namespaces whose own records are of a room, the newest first. No
    /// more Services than the shares need.
    pub(in crate::maps) fn newest(&mut self, room: Room, shares: &[Share]) -> Vec<u32> {
        self.choose(shares, |held| {
            u32::from(Room::of_class(held.class) == room && held.elements[room as usize] > 0)
        })
    }

    fn choose(&mut self, shares: &[Share], size: impl Fn(&Held) -> u32) -> Vec<u32> {
        self.visited += self.services.len() as u64;
        let mut found: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        let wanted: HashMap<u32, u64> = shares
            .iter()
            .map(|share| (share.namespace, share.elements))
            .collect();
        for (number, held) in &self.services {
            let size = size(held);
            if size > 0 && wanted.contains_key(&held.namespace) {
                let found = found.entry(held.namespace).or_default();
                found.push((size, *number));
            }
        }
        let mut chosen = Vec::new();
        for (namespace, mut services) in found {
            let mut left = wanted[&namespace];
            // Each has at least one element, so that no more Services than elements are needed.
            if let Ok(most) = usize::try_from(left)
                && most < services.len()
            {
                services.select_nth_unstable_by(most, |a, b| b.cmp(a));
                services.truncate(most);
            }
            services.sort_unstable_by(|a, b| b.cmp(a));
            for (size, number) in services {
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(size.into());
                chosen.push(number);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use headless_ebpf::abi::KeyClass;

    use super::*;
    use crate::maps::budget::Holder;

    /// Namespaces `a`, `b`, `c`, ... of which each has Services with these many chunks.
    fn budget(namespaces: &[&[i64]]) -> Budget {
        let mut budget = Budget::default();
        let mut number = 0;
        for (label, services) in (b'a'..).zip(namespaces) {
            for chunks in *services {
                number += 1;
                budget.enter(number, &[label], KeyClass::Short);
                budget.add(Holder::Service(number), Room::Short, 1);
                budget.add(Holder::Service(number), Room::Chunks, *chunks);
            }
        }
        budget
    }

    fn shares(namespaces: &[&[i64]], excess: u64) -> Vec<(u32, u64)> {
        let all: i64 = namespaces.iter().flat_map(|services| services.iter()).sum();
        let all = all.unsigned_abs();
        let target = all.saturating_sub(excess);
        let shares = budget(namespaces).shares(Room::Chunks, all, target);
        let mut shares: Vec<_> = shares
            .iter()
            .map(|share| (share.namespace, share.elements))
            .collect();
        shares.sort_unstable();
        shares
    }

    #[test]
    fn the_largest_namespaces_come_down_to_one_level() {
        let all: &[&[i64]] = &[&[60, 40], &[30], &[5, 5]];
        assert_eq!(shares(all, 50), [(0, 50)]);
        assert_eq!(shares(all, 70), [(0, 70)]);
        assert_eq!(shares(all, 80), [(0, 75), (1, 5)]);
        assert_eq!(
            shares(all, 110),
            [(0, 90), (1, 20)],
            "the third has less than a share"
        );
        assert_eq!(shares(all, 1000), [(0, 100), (1, 30), (2, 10)]);
        assert_eq!(shares(&[], 10), []);
    }

    #[test]
    fn nobody_yields_for_elements_that_belong_to_nobody() {
        let budget = budget(&[&[60, 40], &[30], &[5, 5]]);
        let shares = budget.shares(Room::Chunks, 1000, 120);
        let shares: Vec<_> = shares
            .iter()
            .map(|share| (share.namespace, share.elements))
            .collect();
        assert_eq!(shares, [(0, 60)], "an equal share is 40");
    }

    #[test]
    fn the_largest_services_yield_first_and_no_more_than_needed() {
        let mut budget = budget(&[&[1, 9, 3, 9, 0], &[7]]);
        let chosen = |budget: &mut Budget, elements| {
            let share = Share {
                namespace: 0,
                elements,
            };
            budget.largest(Room::Chunks, &[share])
        };
        assert_eq!(chosen(&mut budget, 1), [4], "the newer one");
        assert_eq!(chosen(&mut budget, 10), [4, 2]);
        assert_eq!(chosen(&mut budget, 19), [4, 2, 3]);
        assert_eq!(chosen(&mut budget, 99), [4, 2, 3, 1]);
        assert_eq!(budget.visited, 4 * 6);
        budget.leave(4);
        assert_eq!(chosen(&mut budget, 1), [2]);
        assert_eq!(budget.elements(0, Room::Chunks), 13);
        let own = budget.largest(
            Room::Short,
            &[Share {
                namespace: 0,
                elements: 9,
            }],
        );
        assert_eq!(own, [0; 0], "a record of its own is all that each has");
        let own = budget.newest(
            Room::Short,
            &[Share {
                namespace: 0,
                elements: 2,
            }],
        );
        assert_eq!(own, [5, 3]);
    }
}
