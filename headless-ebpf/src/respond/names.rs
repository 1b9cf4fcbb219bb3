//! Looking up the record of a name: its key, the look-up in the maps, and the proof by the
//! record's seal.
//!
//! The agent makes the same keys with [`crate::abi::NameKey`]. The engine builds them word by
//! word from the folded bytes of the message, without knowing where the labels begin.

use super::request::Request;
use crate::{
    abi::{
        Config, EndpointEntry, HASH_NAME, KeyClass, KeyedHash, NameRecord, PassReason,
        endpoint_word,
    },
    maps::Lookup,
    verifier,
    wire::{Image, KeyBytes, dns::fold},
};

const SHORT: usize = KeyClass::Short.words();
const MEDIUM: usize = KeyClass::Medium.words();
const LONG: usize = KeyClass::Long.words();

/// Offset in the memory of a key behind the longest key.
const SPAN_AT: usize = KeyClass::Long.bytes();

/// Names in an image, with everything that a look-up needs.
pub(super) struct Names<'a, L> {
    pub(super) image: &'a Image,
    /// Memory in which a key is built.
    pub(super) key: &'a mut KeyBytes,
    pub(super) config: &'a Config,
    pub(super) lookup: &'a L,
}

/// A run of bytes in an image.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// Offset of the first byte.
    pub(super) at: usize,
    /// Number of bytes.
    pub(super) len: usize,
}

impl<'a, L> Names<'a, L> {
    /// Names in `image`, with the settings and the maps of a request.
    #[inline(always)]
    pub(super) const fn new(
        image: &'a Image,
        key: &'a mut KeyBytes,
        request: Request<'a, L>,
    ) -> Self {
        Self {
            image,
            key,
            config: request.config,
            lookup: request.lookup,
        }
    }
}

impl<L: Lookup> Names<'_, L> {
    /// Looks up the relative name `name` and copies its record to `record`. Returns whether
    /// the name exists.
    ///
    /// Keys of the two longer classes are built by a function call, so that the verifier
    /// checks the short class without them. A subprogram has no stack left for a call (see
    /// [`verifier`]) and uses [`Self::look_up_inline`].
    #[inline(always)]
    pub(super) fn look_up(
        &mut self,
        name: Span,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        match KeyClass::of_len(name.len) {
            KeyClass::Short => {
                let hash = self.build::<SHORT>(name);
                self.read(KeyClass::Short, hash, record)
            }
            KeyClass::Medium => {
                let hash = self.build_by_call::<MEDIUM>(name);
                self.read(KeyClass::Medium, hash, record)
            }
            KeyClass::Long => {
                let hash = self.build_by_call::<LONG>(name);
                self.read(KeyClass::Long, hash, record)
            }
        }
    }

    /// Does the same as [`Self::look_up`], without a function call.
    #[inline(always)]
    pub(super) fn look_up_inline(
        &mut self,
        name: Span,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let class = KeyClass::of_len(name.len);
        let name = name.opaque();
        match class {
            KeyClass::Short => {
                let hash = self.build::<SHORT>(name);
                self.read(KeyClass::Short, hash, record)
            }
            KeyClass::Medium => {
                let hash = self.build::<MEDIUM>(name);
                self.read(KeyClass::Medium, hash, record)
            }
            KeyClass::Long => {
                let hash = self.build::<LONG>(name);
                self.read(KeyClass::Long, hash, record)
            }
        }
    }

    /// The hash that has taken in the words of the name's key.
    #[inline(always)]
    pub(super) fn hash_inline(&mut self, name: Span) -> KeyedHash {
        let class = KeyClass::of_len(name.len);
        let name = name.opaque();
        match class {
            KeyClass::Short => self.build::<SHORT>(name),
            KeyClass::Medium => self.build::<MEDIUM>(name),
            KeyClass::Long => self.build::<LONG>(name),
        }
    }

    /// Looks up a name of at most 40 bytes ([`KeyClass::Short`]). Returns whether it exists.
    #[inline(always)]
    pub(super) fn look_up_short(
        &mut self,
        name: Span,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let hash = self.build::<SHORT>(name.opaque());
        self.read(KeyClass::Short, hash, record)
    }

    /// Looks up an endpoint by its endpoint key ([`crate::abi::NameKey::of_endpoint`]): the
    /// number of its Service and its label. `label` includes the length byte. Returns whether
    /// the endpoint exists.
    #[inline(always)]
    pub(super) fn look_up_endpoint(
        &mut self,
        label: Span,
        service: u32,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let word = endpoint_word(service);
        let class = KeyClass::of_len(size_of_val(&word) + label.len);
        let label = label.opaque();
        if class == KeyClass::Short {
            let hash = self.build_endpoint::<SHORT>(word, label);
            self.read(KeyClass::Short, hash, record)
        } else {
            let hash = self.build_endpoint::<MEDIUM>(word, label);
            self.read(KeyClass::Medium, hash, record)
        }
    }

    /// Copies the record under the key that has been built, and checks its seal. `Ok(false)`
    /// where there is no record, [`PassReason::Changed`] where the seal does not fit.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        class: KeyClass,
        hash: KeyedHash,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let words = bytemuck::cast_mut(&mut *record);
        if !self.lookup.name(self.config, class, self.key, hash, words) {
            return Ok(false);
        }
        let hash_key = &verifier::reload(self.config).hash_key;
        if record.seal == NameRecord::seal_of(hash_key, hash, bytemuck::cast(*record)) {
            Ok(true)
        } else {
            Err(PassReason::Changed)
        }
    }
}

impl<L> Names<'_, L> {
    /// Builds a key of `WORDS` words: the name, folded, then zeros. Returns the hash that has
    /// taken in these words.
    #[inline(always)]
    fn build<const WORDS: usize>(&mut self, name: Span) -> KeyedHash {
        self.append::<0, WORDS>(KeyedHash::new(), name)
    }

    /// Builds a key of at most 40 bytes. Returns the hash that has taken in its words.
    #[inline(always)]
    pub(super) fn build_short(&mut self, name: Span) -> KeyedHash {
        self.build::<SHORT>(name)
    }

    /// Builds an endpoint key: `word`, the label, then zeros.
    #[inline(always)]
    fn build_endpoint<const WORDS: usize>(&mut self, word: u64, label: Span) -> KeyedHash {
        self.key.put_u64(0, word);
        let hash = KeyedHash::new().word(&verifier::reload(self.config).hash_key, HASH_NAME, word);
        self.append::<1, WORDS>(hash, label)
    }

    /// Writes `bytes`, folded, then zeros into the words `FROM..WORDS` of the key, and lets
    /// `hash` take in these words.
    #[inline(always)]
    fn append<const FROM: usize, const WORDS: usize>(
        &mut self,
        mut hash: KeyedHash,
        bytes: Span,
    ) -> KeyedHash {
        let hash_key = &verifier::reload(self.config).hash_key;
        for i in FROM..WORDS {
            let at = (i - FROM) * 8;
            let word = fold(self.image.u64_at(bytes.at + at)) & verifier::mask(bytes.len, at);
            self.key.put_u64(i * 8, word);
            hash = hash.word(hash_key, HASH_NAME + i, word);
            verifier::compiler_barrier();
        }
        hash
    }

    /// Does the same as [`Self::build`] by a function call.
    #[inline(always)]
    fn build_by_call<const WORDS: usize>(&mut self, name: Span) -> KeyedHash {
        // The span goes through memory behind the key, so that the verifier checks the function
        // for one unknown span and not for each of the caller's paths.
        self.key
            .put_u64(SPAN_AT, (name.at as u64) << 32 | name.len as u64);
        let span = verifier::reread(self.key).u64_at(SPAN_AT);
        let (at, len) = ((span >> 32) as usize, (span & 0xff) as usize);
        let sum = build_key::<WORDS>(self.image, at, len, self.key, self.config);
        KeyedHash::resume(sum)
    }
}

impl Span {
    /// The same span with a length that the compiler knows nothing about. Otherwise the
    /// compiler removes the mask that proves to the verifier that an access is inside the
    /// image.
    #[inline(always)]
    pub(super) fn opaque(self) -> Self {
        Self {
            len: verifier::opaque(self.len),
            ..self
        }
    }
}

/// Builds a key as a function of the program. Returns [`KeyedHash::sum`], since a BPF
/// function can return one word only.
#[inline(never)]
fn build_key<const WORDS: usize>(
    image: &Image,
    at: usize,
    len: usize,
    key: &mut KeyBytes,
    config: &Config,
) -> u64 {
    let mut names = Names {
        image,
        key,
        config,
        lookup: &(),
    };
    names.build::<WORDS>(Span { at, len }).sum()
}

/// Whether the Service of this number has a regular endpoint with this IPv4 address, given
/// as [`EndpointEntry::new`] takes it.
#[inline(always)]
pub(super) fn is_regular_endpoint<L: Lookup>(
    request: Request<'_, L>,
    service: u32,
    address: u32,
) -> bool {
    let entry = EndpointEntry::new(service, address);
    let (key, count) = (&request.config.hash_key, request.config.endpoint_buckets);
    request.lookup.endpoint(entry, entry.buckets(key, count))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::abi::{HashKey, NameKey, PodsMode};

    /// An image with `bytes` at offset 5 and 0xaa around them.
    fn image(bytes: &[u8]) -> Image {
        let mut image = Image::default();
        image.as_mut_slice().fill(0xaa);
        image.as_mut_slice()[5..][..bytes.len()].copy_from_slice(bytes);
        image
    }

    /// The first `WORDS` words of a built key, and its hash.
    fn built<const WORDS: usize>(
        image: &Image,
        build: impl Fn(&mut Names<'_, ()>) -> KeyedHash,
    ) -> ([u64; WORDS], KeyedHash) {
        let mut key = KeyBytes::default();
        key.as_mut_slice().fill(0x55);
        let hash = build(&mut Names {
            image,
            key: &mut key,
            config: &config(),
            lookup: &(),
        });
        (core::array::from_fn(|i| key.u64_at(i * 8)), hash)
    }

    fn config() -> Config {
        let key = HashKey::from_seed(77);
        Config::new("cluster.local", 30, PodsMode::Insecure, &key).unwrap()
    }

    fn hash(words: &[u64]) -> KeyedHash {
        KeyedHash::new().words(&config().hash_key, HASH_NAME, words)
    }

    /// Agent and programs build keys by different code. The keys must be the same.
    #[test]
    fn a_built_key_is_the_agents_key() {
        let labels: [&[u8]; 3] = [b"Web-0", b"nginx-headless", b"default"];
        let (expected, len) = NameKey::from_labels(labels).unwrap();
        let image = image(b"\x05wEB-0\x0enginx-HEADLESS\x07default");
        let (key, built) = built::<LONG>(&image, |names| names.build::<LONG>(Span { at: 5, len }));
        assert_eq!(key, expected.words);
        assert_eq!(built, hash(&expected.words));
    }

    #[test]
    fn a_built_endpoint_key_is_the_agents_key() {
        let (expected, class) = NameKey::of_endpoint(9, b"Web-0").unwrap();
        let image = image(b"\x05wEB-0\x05nginx");
        let (key, built) = built::<SHORT>(&image, |names| {
            names.build_endpoint::<SHORT>(endpoint_word(9), Span { at: 5, len: 6 })
        });
        assert_eq!(key, expected.words(class));
        assert_eq!(built, hash(&key));
    }
}
