//! The questions that are left to CoreDNS.

use std::collections::BTreeSet;

use headless_ebpf::abi::{NameKey, PASSED_MAX};

use super::address::covers;
use super::parts::{Part, Parts};

/// Parts of the questions, and single names of the zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The parts.
    pub parts: Parts,
    /// Names of the zone without the zone, in small letters: `db.default.svc`, or nothing for the
    /// zone itself. At most [`PASSED_MAX`], and none where the whole zone is left.
    pub names: BTreeSet<Box<str>>,
}

impl Left {
    /// Everything.
    pub const ALL: Self = Self {
        parts: Parts::ALL,
        names: BTreeSet::new(),
    };

    /// Nothing.
    pub const NOTHING: Self = Self {
        parts: Parts::NONE,
        names: BTreeSet::new(),
    };

    /// The name, which is in small letters with its final dot; nothing where it is not in the zone.
    /// The whole zone where it has letters that CoreDNS may spell in another way, or is too long
    /// for [`NameKey`], by which the programs know it.
    pub(super) fn name(zone: &str, name: &str) -> Self {
        if !covers(zone, name) {
            return Self::NOTHING;
        }
        let relative = name.strip_suffix(zone).unwrap_or_default();
        let relative = relative.strip_suffix('.').unwrap_or(relative);
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let has_key = relative.is_empty()
            || NameKey::from_labels(relative.split('.').map(str::as_bytes)).is_some();
        if has_key && relative.bytes().all(is_plain) && name.len() < 254 {
            Self {
                names: [relative.into()].into(),
                ..Self::NOTHING
            }
        } else {
            Part::Zone.into()
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.names.is_empty()
    }

    /// The questions that either of both leaves. More than [`PASSED_MAX`] names are the zone.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.parts |= other.parts;
        self.names.extend(other.names.iter().cloned());
        if self.names.len() > PASSED_MAX {
            self.parts |= Part::Zone.into();
        }
        if self.parts.has(Part::Zone) {
            self.names.clear();
        }
        self
    }

    /// The questions that one of both leaves and the other does not.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Self {
        let names = self.names.symmetric_difference(&other.names).cloned();
        let names = Self {
            parts: self.parts.differing(other.parts),
            names: names.collect(),
        };
        Self::NOTHING.and(&names)
    }

    /// The names with their zone, for messages.
    pub(super) fn listed(&self, zone: &str) -> String {
        let mut names = self.names.iter().map(|name| {
            if name.is_empty() {
                zone.to_owned()
            } else {
                format!("{name}.{zone}")
            }
        });
        match (names.next(), names.len()) {
            (None, _) => zone.to_owned(),
            (Some(first), 0) => first,
            (Some(first), more) => format!("{first} and {more} more"),
        }
    }
}

impl From<Parts> for Left {
    fn from(parts: Parts) -> Self {
        Self {
            parts,
            ..Self::NOTHING
        }
    }
}

impl From<Part> for Left {
    fn from(part: Part) -> Self {
        Parts::from(part).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Left {
        Left::name("cluster.local.", text)
    }

    #[test]
    fn names_of_the_zone_are_relative() {
        let names = |left: Left| left.names.into_iter().map(String::from).collect::<Vec<_>>();
        assert_eq!(names(name("cluster.local.")), [""]);
        assert_eq!(names(name("a.b-c.cluster.local.")), ["a.b-c"]);
        assert_eq!(name("cluster.local.example."), Left::NOTHING);
        assert_eq!(name("mycluster.local."), Left::NOTHING);
        let long = format!("{}.cluster.local.", "a".repeat(64));
        let longer = "a.".repeat(120) + "cluster.local.";
        for odd in ["*.cluster.local.", "ä.cluster.local.", "a..cluster.local."] {
            assert_eq!(name(odd), Part::Zone.into(), "{odd}");
        }
        assert_eq!(
            (name(&long), name(&longer)),
            (Part::Zone.into(), Part::Zone.into())
        );
    }

    #[test]
    fn a_name_that_has_no_key_is_the_zone() {
        // 124 labels take 248 bytes in a key, and 248 characters with their dots.
        let longest = "a.".repeat(124) + "zz.";
        let longer = format!("a{longest}");
        assert_eq!(Left::name("zz.", &longest).names.len(), 1);
        assert!(longer.len() < 254);
        assert_eq!(Left::name("zz.", &longer), Part::Zone.into());
    }

    #[test]
    fn too_many_names_are_the_zone() {
        let all = |range: std::ops::Range<usize>| {
            range.fold(Left::NOTHING, |all, i| {
                all.and(&name(&format!("a{i}.cluster.local.")))
            })
        };
        let most = all(0..PASSED_MAX);
        assert_eq!((most.names.len(), most.parts), (PASSED_MAX, Parts::NONE));
        assert_eq!(all(0..PASSED_MAX + 1), Part::Zone.into());
        assert_eq!(most.clone().and(&Part::Zone.into()), Part::Zone.into());
        assert_eq!(most.differing(&all(1..PASSED_MAX + 1)).names.len(), 2);
        assert_eq!(most.differing(&Part::Zone.into()), Part::Zone.into());
    }
}
