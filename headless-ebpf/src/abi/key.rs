//! Keys of the maps of names, as the agent makes them. The engine makes the same keys from the
//! bytes of a message (`respond::names`).
//!
//! A key is the relative name in wire form, folded (in small letters) and padded with zeros to
//! the size of its class. The key of `web-0.nginx-headless.default.svc.cluster.local` is
//! `\5web-0\14nginx-headless\7default`. The number of labels gives the kind of name:
//!
//! | Labels | Name |
//! | --- | --- |
//! | 1 | namespace |
//! | 2 | Service |
//! | 3 | endpoint |
//! | 4 | pod that exists ([`super::PodsMode::Verified`]) |
//!
//! A pod's key ends with `pod` and the zone's first label:
//! `\1310-244-0-22\7default\3pod\7cluster`.
//!
//! Labels begin with their lengths and are never empty, so that two names never have the same
//! padded key. The key is exact: there is no hash that could collide.
//!
//! An endpoint whose relative name is longer than 40 bytes has an *endpoint key* instead
//! ([`NameKey::of_endpoint`]): the number of its Service and its label.

use bytemuck::{Pod, Zeroable};

use super::hash::{HASH_NAME, HASH_RECORD};

/// Words of the longest key, which has 248 bytes: 255 bytes of a name (RFC 1035, section 2.3.4)
/// less the root (1 byte), a zone of one letter (2 bytes) and the label `svc` (4 bytes).
pub const KEY_WORDS_MAX: usize = 31;

const _: () = assert!(HASH_RECORD - HASH_NAME == KEY_WORDS_MAX);

/// The size class of a key. All elements of a BPF hash map have one size, so a single map would
/// take 248 bytes for every short key.
///
/// An element is the kernel's header (48 bytes), a node of the free list (8 bytes), the key and a
/// [`super::NameRecord`] (48 bytes). The kernel allocates 192, 256 or 512 bytes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum KeyClass {
    /// Up to 40 bytes, as nearly all names have.
    Short = 0,
    /// Up to 104 bytes.
    Medium = 1,
    /// Up to 248 bytes, the longest relative name.
    Long = 2,
}

impl KeyClass {
    /// All classes, shortest first.
    pub const ALL: [Self; 3] = [Self::Short, Self::Medium, Self::Long];

    /// The class of a key of `len` bytes, at most 248.
    #[inline(always)]
    pub const fn of_len(len: usize) -> Self {
        if len <= Self::Short.bytes() {
            Self::Short
        } else if len <= Self::Medium.bytes() {
            Self::Medium
        } else {
            Self::Long
        }
    }

    /// Size of the keys of this class in 64-bit words.
    #[inline(always)]
    pub const fn words(self) -> usize {
        match self {
            Self::Short => 5,
            Self::Medium => 13,
            Self::Long => KEY_WORDS_MAX,
        }
    }

    /// Size of the keys of this class in bytes.
    #[inline(always)]
    pub const fn bytes(self) -> usize {
        self.words() * 8
    }
}

/// First byte of endpoint keys. No label has this length, so that no other key begins with this
/// byte. The engine folds all bytes of a question's name, and no folded byte is a capital. So no
/// question, however malformed, can spell an endpoint key.
const ENDPOINT_MARK: u64 = b'A' as u64;

/// First word of the endpoint keys of a Service, given by its number. The label follows.
#[inline(always)]
pub const fn endpoint_word(service: u32) -> u64 {
    ENDPOINT_MARK | (service as u64) << 32
}

/// A key of any class, padded with zeros to the longest class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct NameKey {
    /// The bytes of the key as little-endian words.
    pub words: [u64; KEY_WORDS_MAX],
}

const _: () = assert!(size_of::<NameKey>() == 248);

impl NameKey {
    /// The key of a relative name, and its length in bytes without padding. The name is given as
    /// its labels, leftmost first, in any case.
    ///
    /// `None` where a label is empty or longer than 63 bytes, or the name is longer than 248 bytes
    /// (RFC 1035, section 2.3.4).
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<(Self, usize)> {
        let mut bytes = [0u8; KEY_WORDS_MAX * 8];
        let mut len = 0;
        for label in labels {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            *bytes.get_mut(len)? = label.len() as u8;
            let end = len + 1 + label.len();
            bytes
                .get_mut(len + 1..end)?
                .iter_mut()
                .zip(label)
                .for_each(|(to, from)| *to = from.to_ascii_lowercase());
            len = end;
        }
        let mut key = Self::zeroed();
        for (word, chunk) in key.words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Some((key, len))
    }

    /// The endpoint key for a Service's number and an endpoint's label in any case, and its class:
    /// [`KeyClass::Short`] for labels of up to 31 bytes, else [`KeyClass::Medium`].
    ///
    /// `None` where the label is empty or longer than 63 bytes.
    pub fn of_endpoint(service: u32, label: &[u8]) -> Option<(Self, KeyClass)> {
        let (name, len) = Self::from_labels([label])?;
        let mut key = Self::zeroed();
        key.words[0] = endpoint_word(service);
        key.words[1..]
            .iter_mut()
            .zip(name.words)
            .for_each(|(to, from)| *to = from);
        Some((key, KeyClass::of_len(size_of::<u64>() + len)))
    }

    /// The number of the Service in an endpoint key. `None` for other keys.
    pub const fn endpoint_service(&self) -> Option<u32> {
        if self.words[0] as u32 == ENDPOINT_MARK as u32 {
            Some((self.words[0] >> 32) as u32)
        } else {
            None
        }
    }

    /// The words that are the key in the map of `class`.
    pub fn words(&self, class: KeyClass) -> &[u64] {
        &self.words[..class.words()]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_key_is_a_number_and_a_label() {
        let (key, class) = NameKey::of_endpoint(0x0102_0304, b"Web-0").unwrap();
        assert_eq!(class, KeyClass::Short);
        let bytes: [u8; 248] = bytemuck::cast(key.words.map(u64::to_le));
        assert_eq!(&bytes[..15], b"A\0\0\0\x04\x03\x02\x01\x05web-0\0");
        assert_eq!(key.endpoint_service(), Some(0x0102_0304));
        let (name, _) = NameKey::from_labels([b"web".as_slice(), b"default"]).unwrap();
        assert_eq!(name.endpoint_service(), None);
    }

    #[test]
    fn labels_of_31_bytes_are_short() {
        let class = |len| NameKey::of_endpoint(1, &[b'a'; 63][..len]).unwrap().1;
        assert_eq!(class(31), KeyClass::Short);
        assert_eq!(class(32), KeyClass::Medium);
        assert_eq!(class(63), KeyClass::Medium);
        assert!(NameKey::of_endpoint(1, b"").is_none());
        assert!(NameKey::of_endpoint(1, &[b'a'; 64]).is_none());
    }
}
