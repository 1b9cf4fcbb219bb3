//! Map keys: a name, or an endpoint of a Service, as words.

use headless_ebpf::abi::{HASH_NAME, HashKey, KEY_WORDS_MAX, KeyClass, KeyedHash, NameKey};
use headless_ebpf::wire::KeyBytes;

use crate::records::name::WireLabels;

/// A key and the class of maps to which the key belongs. The key is a whole relative name,
/// or a Service's number with an endpoint's label ([`NameKey::of_endpoint`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapKey {
    class: KeyClass,
    key: NameKey,
}

impl MapKey {
    /// The key of a relative name in wire form: labels with their lengths, without the
    /// root label. Upper case is folded to lower case.
    ///
    /// `None` if the bytes are no name (RFC 1035, section 2.3.4), or more than the 248 bytes
    /// of the longest key.
    pub fn of_name(wire: &[u8]) -> Option<Self> {
        let (key, len) = NameKey::from_labels(WireLabels::new(wire))?;
        // The length of the last label may point behind the end of `wire`.
        (len == wire.len()).then_some(Self {
            class: KeyClass::of_len(len),
            key,
        })
    }

    /// The key of an endpoint with the relative name `wire`, of the Service with the number
    /// `service`. A name of up to 40 bytes is the key itself. Longer names have the Service's
    /// number and the endpoint's label as their key.
    ///
    /// `None` as in [`Self::of_name`].
    pub fn of_endpoint(wire: &[u8], service: u32) -> Option<Self> {
        let whole = Self::of_name(wire)?;
        if whole.class == KeyClass::Short {
            return Some(whole);
        }
        let (key, class) = NameKey::of_endpoint(service, WireLabels::new(wire).next()?)?;
        Some(Self { class, key })
    }

    /// The key that the engine has built for the maps of `class`, from its bytes.
    pub fn from_key_bytes(class: KeyClass, key: &KeyBytes) -> Self {
        let words: [u64; KEY_WORDS_MAX] = std::array::from_fn(|i| key.u64_at(i * 8));
        Self::from_words(class, &words[..class.words()])
    }

    /// The key with these words, as a map of `class` holds them.
    pub fn from_words(class: KeyClass, words: &[u64]) -> Self {
        let mut key = NameKey {
            words: [0; KEY_WORDS_MAX],
        };
        key.words
            .iter_mut()
            .zip(words)
            .for_each(|(to, from)| *to = *from);
        Self { class, key }
    }

    /// The class of maps to which the key belongs.
    pub fn class(&self) -> KeyClass {
        self.class
    }

    /// The words of the key, as many as keys of the class have.
    pub fn words(&self) -> &[u64] {
        self.key.words(self.class)
    }

    /// The first `N` words of the key, with zeros behind the words of the longest class.
    pub fn first_words<const N: usize>(&self) -> [u64; N] {
        std::array::from_fn(|at| self.key.words.get(at).copied().unwrap_or_default())
    }

    /// The Service's number, if the key consists of a Service's number and a label.
    pub fn endpoint_service(&self) -> Option<u32> {
        self.key.endpoint_service()
    }

    /// The folded wire form without the root label: the whole name, or the endpoint's label
    /// if the key consists of a Service's number and a label.
    pub fn wire(&self) -> Vec<u8> {
        let skip = usize::from(self.endpoint_service().is_some());
        let words = self.words().iter().skip(skip);
        let mut wire: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        let mut end = 0;
        while let Some(&len) = wire.get(end)
            && len != 0
        {
            end += 1 + usize::from(len);
        }
        wire.truncate(end);
        wire
    }

    /// The keyed hash of the words. It has buckets, tag and seal of the name.
    pub fn hash(&self, key: &HashKey) -> KeyedHash {
        KeyedHash::new().words(key, HASH_NAME, self.words())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn wire(labels: &[&str]) -> Vec<u8> {
        let label = |label: &&str| [&[label.len() as u8], label.as_bytes()].concat();
        labels.iter().flat_map(label).collect()
    }

    fn key(labels: &[&str]) -> MapKey {
        MapKey::of_name(&wire(labels)).unwrap()
    }

    #[test]
    fn a_key_is_the_folded_name_in_its_class() {
        let short = key(&["Web-0", "nginx", "default"]);
        assert_eq!(short.class(), KeyClass::Short);
        assert_eq!(short.wire(), b"\x05web-0\x05nginx\x07default");
        assert_eq!(short.words().len(), 5);
        let long = "a".repeat(63);
        assert_eq!(key(&[&long]).class(), KeyClass::Medium);
        assert_eq!(key(&[&long, &long]).class(), KeyClass::Long);
        let longest = key(&[&long, &long, &long, &"a".repeat(55)]);
        assert_eq!(longest.wire().len(), 248);
        assert_eq!(
            MapKey::from_words(longest.class(), longest.words()),
            longest
        );
    }

    #[test]
    fn other_bytes_have_no_key() {
        assert_eq!(MapKey::of_name(b"\x05web"), None, "the label ends early");
        assert_eq!(MapKey::of_name(b"\x03web\x00"), None, "a root label");
        assert_eq!(MapKey::of_name(&[64; 65]), None, "a label of 64 bytes");
    }

    #[test]
    fn an_endpoint_with_a_long_name_has_its_services_number() {
        let short = wire(&["web-0", "nginx", "default"]);
        assert_eq!(MapKey::of_endpoint(&short, 7), MapKey::of_name(&short));
        let namespace = "n".repeat(40);
        let long = wire(&["Web-0", "nginx", &namespace]);
        let found = MapKey::of_endpoint(&long, 7).unwrap();
        assert_eq!(found.class(), KeyClass::Short);
        assert_eq!(found.endpoint_service(), Some(7));
        assert_eq!(found.wire(), b"\x05web-0");
        let label = "a".repeat(32);
        let found = MapKey::of_endpoint(&wire(&[&label, "nginx", &namespace]), 7).unwrap();
        assert_eq!(found.class(), KeyClass::Medium);
    }

    proptest! {
        #[test]
        fn a_name_survives_its_key(labels in prop::collection::vec("[a-z0-9_-]{1,63}", 1..4)) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let wire = wire(&labels);
            let key = MapKey::of_name(&wire).unwrap();
            prop_assert_eq!(key.wire(), wire);
            prop_assert_eq!(MapKey::from_words(key.class(), key.words()), key);
        }
    }
}
