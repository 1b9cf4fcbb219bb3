//! How a name becomes a map key: the only place where that happens.
//!
//! A key is the folded (lower-case) wire form of the labels between the start
//! of the name and the label `svc`, zero-padded to the size of its class:
//! `web-0.nginx-headless.default.svc.cluster.local` is stored as
//! `\5web-0\14nginx-headless\7default`. One label is a namespace, two are a
//! Service, three an endpoint name, and four a pod that exists
//! (`\1310-244-0-22\7default\3pod\7cluster`, with the zone's first label, where
//! [`super::PodsMode::Verified`] asks for it). Since labels carry their lengths and no
//! label is empty, padding with zeroes maps no two names to one key. The exact
//! bytes are the key: there is no hash that could collide.
//!
//! An endpoint whose whole name is longer than 40 bytes has an *endpoint key*
//! ([`NameKey::of_endpoint`]): the number of its Service and its label alone.

use bytemuck::{Pod, Zeroable};

use super::hash::{HASH_NAME, HASH_RECORD};

/// Words of the longest key: 255 bytes of name (RFC 1035, section 2.3.4) less
/// the root, a one-letter zone (2 bytes) and the label `svc` (4 bytes), which
/// leaves 248.
pub const KEY_WORDS_MAX: usize = 31;

const _: () = assert!(HASH_RECORD - HASH_NAME == KEY_WORDS_MAX);

/// The size class of a key. Elements of a BPF hash map have one size, so a
/// single map would spend 248 bytes on every `\5web-0..`.
///
/// With the kernel's 48-byte element header, an 8-byte free-list node and the
/// 48-byte [`super::NameRecord`], elements take allocations of 192, 256 and 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum KeyClass {
    /// Up to 40 bytes: nearly all names.
    Short = 0,
    /// Up to 104 bytes.
    Medium = 1,
    /// Up to 248 bytes: whatever a name can be.
    Long = 2,
}

impl KeyClass {
    /// All classes, shortest first.
    pub const ALL: [Self; 3] = [Self::Short, Self::Medium, Self::Long];

    /// The class of a key of `len` bytes; `len` is at most 248.
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

/// First byte of endpoint keys: no label has this length, so that no name's key begins
/// with it.
const ENDPOINT_MARK: u64 = 0xff;

/// First word of the keys of a Service's endpoints; the label follows.
#[inline(always)]
pub const fn endpoint_word(service: u32) -> u64 {
    ENDPOINT_MARK | (service as u64) << 32
}

/// A key of any class, zero-padded to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct NameKey {
    /// The bytes of the key as little-endian words, so that byte 0 of the name
    /// is the lowest byte of the first word.
    pub words: [u64; KEY_WORDS_MAX],
}

const _: () = assert!(size_of::<NameKey>() == 248);

impl NameKey {
    /// The key of a relative name given as labels, leftmost first, in any case.
    ///
    /// `None` where a label is empty or longer than 63 bytes, or the whole is
    /// longer than 248 bytes (RFC 1035, section 2.3.4).
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

    /// The key of an endpoint with this label, in any case, of the Service of this
    /// number, and its class: short for labels of up to 31 bytes, else medium.
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

    /// The number of the Service, where this is an endpoint key.
    pub const fn endpoint_service(&self) -> Option<u32> {
        if self.words[0] as u32 == ENDPOINT_MARK as u32 {
            Some((self.words[0] >> 32) as u32)
        } else {
            None
        }
    }

    /// The words that a map of `class` has as its key.
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
        assert_eq!(&bytes[..15], b"\xff\0\0\0\x04\x03\x02\x01\x05web-0\0");
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
