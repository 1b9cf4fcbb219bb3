//! From a name to its record.

use super::{
    request::Request,
    shape::{self, NameKind, NameShape, SVC_LEN},
    srv::DetailsAt,
};
use crate::{
    abi::{
        Address, Config, EndpointEntry, HASH_NAME, KeyClass, KeyedHash, NameFlags, NameRecord,
        PassReason, PodsMode, endpoint_word,
    },
    maps::Lookup,
    verifier,
    wire::{
        Image, KeyBytes,
        dns::{DNS_HEADER_LEN, Dashed, Question, fold, qtype},
    },
};

const SHORT: usize = KeyClass::Short.words();
const MEDIUM: usize = KeyClass::Medium.words();
const LONG: usize = KeyClass::Long.words();

/// What a name in the zone is.
pub(super) enum Found {
    /// A name of this kind, whose record is in the working memory.
    Record(NameKind),
    /// A name of this kind, for which `below` has to look.
    Below(NameKind),
    /// A name that exists and has no records: the zone, `svc`, `pod`, a namespace.
    NonTerminal,
    /// The name that has the version of the specification.
    Version,
    /// Nothing.
    Missing,
}

/// What is known of a name whose labels have not been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Its record is in the working memory.
    Found,
    /// There is no record of the labels before `svc`.
    Missing,
    /// Its shape decides.
    Unknown,
}

/// Names in an image, and how they are looked up.
pub(super) struct Names<'a, L> {
    pub(super) image: &'a Image,
    /// Memory for the key.
    pub(super) key: &'a mut KeyBytes,
    pub(super) config: &'a Config,
    pub(super) lookup: &'a L,
}

/// Bytes of an image.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) at: usize,
    pub(super) len: usize,
}

impl<L: Lookup> Names<'_, L> {
    /// Looks up the name of these labels. Whether there is one, and its record is in
    /// `found`.
    ///
    /// The keys of long names are built by functions of their own, out of the way of the
    /// others. In a subprogram, which may call no other function, see
    /// [`Self::look_up_inline`].
    #[inline(always)]
    fn look_up(&mut self, name: Span, found: &mut NameRecord) -> Result<bool, PassReason> {
        match KeyClass::of_len(name.len) {
            KeyClass::Short => {
                let hash = self.build::<SHORT>(name);
                self.read(KeyClass::Short, hash, found)
            }
            KeyClass::Medium => {
                let hash = self.build_apart::<MEDIUM>(name);
                self.read(KeyClass::Medium, hash, found)
            }
            KeyClass::Long => {
                let hash = self.build_apart::<LONG>(name);
                self.read(KeyClass::Long, hash, found)
            }
        }
    }

    /// [`Self::look_up`] without a call.
    #[inline(always)]
    pub(super) fn look_up_inline(
        &mut self,
        name: Span,
        found: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let class = KeyClass::of_len(name.len);
        let name = name.opaque();
        match class {
            KeyClass::Short => {
                let hash = self.build::<SHORT>(name);
                self.read(KeyClass::Short, hash, found)
            }
            KeyClass::Medium => {
                let hash = self.build::<MEDIUM>(name);
                self.read(KeyClass::Medium, hash, found)
            }
            KeyClass::Long => {
                let hash = self.build::<LONG>(name);
                self.read(KeyClass::Long, hash, found)
            }
        }
    }

    /// Looks up a name of at most [`KeyClass::Short`] bytes.
    #[inline(always)]
    pub(super) fn look_up_short(
        &mut self,
        name: Span,
        found: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let hash = self.build::<SHORT>(name.opaque());
        self.read(KeyClass::Short, hash, found)
    }

    /// Looks up the endpoint key of a label, given with its length byte, of the Service of
    /// this number.
    #[inline(always)]
    pub(super) fn look_up_endpoint(
        &mut self,
        label: Span,
        service: u32,
        found: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let word = endpoint_word(service);
        let class = KeyClass::of_len(size_of_val(&word) + label.len);
        let label = label.opaque();
        if class == KeyClass::Short {
            let hash = self.build_endpoint::<SHORT>(word, label);
            self.read(KeyClass::Short, hash, found)
        } else {
            let hash = self.build_endpoint::<MEDIUM>(word, label);
            self.read(KeyClass::Medium, hash, found)
        }
    }

    /// Reads the record under the key that has been built, and whether the seal says that
    /// it belongs there.
    #[inline(always)]
    fn read(
        &mut self,
        class: KeyClass,
        hash: KeyedHash,
        found: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let words = bytemuck::cast_mut(&mut *found);
        if !self.lookup.name(self.config, class, self.key, hash, words) {
            return Ok(false);
        }
        let hash_key = &verifier::again(self.config).hash_key;
        if found.seal == NameRecord::seal_of(hash_key, hash, bytemuck::cast(*found)) {
            Ok(true)
        } else {
            Err(PassReason::Changed)
        }
    }
}

impl<L> Names<'_, L> {
    /// Puts a name, folded, into the first `WORDS` words of the key, with zeroes behind
    /// it, and hashes these words.
    #[inline(always)]
    fn build<const WORDS: usize>(&mut self, name: Span) -> KeyedHash {
        self.append::<0, WORDS>(KeyedHash::new(), name)
    }

    /// Puts a label behind `word`.
    #[inline(always)]
    fn build_endpoint<const WORDS: usize>(&mut self, word: u64, label: Span) -> KeyedHash {
        self.key.put_u64(0, word);
        let hash = KeyedHash::new().word(&verifier::again(self.config).hash_key, HASH_NAME, word);
        self.append::<1, WORDS>(hash, label)
    }

    /// Puts bytes, folded, into the words of the key from `FROM` to `WORDS`, with zeroes
    /// behind them.
    #[inline(always)]
    fn append<const FROM: usize, const WORDS: usize>(
        &mut self,
        mut hash: KeyedHash,
        bytes: Span,
    ) -> KeyedHash {
        let hash_key = &verifier::again(self.config).hash_key;
        for i in FROM..WORDS {
            let at = (i - FROM) * 8;
            let word = fold(self.image.u64_at(bytes.at + at)) & verifier::mask(bytes.len, at);
            self.key.put_u64(i * 8, word);
            hash = hash.word(hash_key, HASH_NAME + i, word);
            verifier::in_order();
        }
        hash
    }

    /// [`Self::build`] as a function of its own.
    #[inline(always)]
    fn build_apart<const WORDS: usize>(&mut self, name: Span) -> KeyedHash {
        let sum = build_sum::<WORDS>(self.image, name.at, name.len, self.key, self.config);
        KeyedHash::resume(sum)
    }
}

impl Span {
    /// The same, of whose length the compiler knows nothing: it would leave out the mask
    /// by which the verifier knows that an access is inside.
    #[inline(always)]
    fn opaque(self) -> Self {
        Self {
            len: verifier::opaque(self.len),
            ..self
        }
    }
}

/// A function in the program, which can return one word: [`KeyedHash::sum`].
#[inline(never)]
fn build_sum<const WORDS: usize>(
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

/// Looks up the labels before `svc`, if they are those of a Service or an endpoint.
///
/// The labels' lengths are part of a key, so that the labels of a name that is stored need
/// not be looked at, and most questions are for one.
#[inline(always)]
pub(super) fn stored<L: Lookup>(
    names: &mut Names<'_, L>,
    start: usize,
    question: &Question,
    found: &mut NameRecord,
) -> Result<Stored, PassReason> {
    let at = start + DNS_HEADER_LEN;
    // Other types have their own ways, of which some depend on the shape.
    if question.qtype != qtype::A && question.qtype != qtype::AAAA {
        return Ok(Stored::Unknown);
    }
    // One comparison for names without a label there, too short ones and long ones.
    let len = (question.zone as usize).wrapping_sub(SVC_LEN);
    if len.wrapping_sub(1) >= KeyClass::Short.bytes() {
        return Ok(Stored::Unknown);
    }
    let name = Span { at, len }.opaque();
    // Keys are padded with zeroes, which would make up for roots behind a name.
    let last = names.image.u8_at(at + name.len.wrapping_sub(1));
    if last == 0 || !shape::is_svc(names.image, at + name.len) {
        return Ok(Stored::Unknown);
    }
    if shape::is_name_server(fold(names.image.u64_at(at))) {
        return Ok(Stored::Unknown);
    }
    let hash = names.build::<SHORT>(name);
    if !names.read(KeyClass::Short, hash, found)? {
        return Ok(Stored::Missing);
    }
    // Namespaces have no records, and pods no names below `svc`.
    Ok(
        if verifier::reread(found)
            .flags
            .contains(NameFlags::NO_SERVICE)
        {
            Stored::Unknown
        } else {
            Stored::Found
        },
    )
}

/// Looks up what the name's shape leaves open. `stored` is what is known already.
#[inline(always)]
pub(super) fn find<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
    stored: Stored,
    found: &mut NameRecord,
) -> Result<Found, PassReason> {
    let at = request.start + DNS_HEADER_LEN;
    let labels = question.labels;
    let kind_at = labels.from_right(0);
    let shape = shape::of(names.image, at, request.config, question)?;
    let owner_at = match shape {
        NameShape::NonTerminal => return Ok(Found::NonTerminal),
        NameShape::Version => return Ok(Found::Version),
        NameShape::Nothing => return Ok(Found::Missing),
        NameShape::Stored | NameShape::Endpoint | NameShape::PodNamespace => 0,
        // A port's name is its Service's matter, a pod's its namespace's.
        NameShape::Port => labels.from_right(2),
        NameShape::Pod => labels.from_right(1),
    };
    // Endpoints with longer names are stored under endpoint keys.
    let is_long_endpoint = shape == NameShape::Endpoint && kind_at > KeyClass::Short.bytes();
    let is_missing = stored == Stored::Missing && owner_at == 0 || is_long_endpoint;
    let owner = Span {
        at: at + owner_at,
        len: kind_at.wrapping_sub(owner_at) & 0xff,
    };
    let exists = !is_missing && names.look_up(owner, found)?;
    let found = verifier::reread(found);
    if shape == NameShape::Pod || shape == NameShape::PodNamespace {
        let pods = request.config.pods;
        return Ok(if pods == PodsMode::Disabled as u32 || !exists {
            Found::Missing
        } else if shape == NameShape::PodNamespace {
            Found::NonTerminal
        } else if pods == PodsMode::Verified as u32 {
            Found::Below(NameKind::VerifiedPod)
        } else {
            // The address is in the label. Labels further left say nothing.
            Found::Record(NameKind::Pod)
        });
    }
    if exists && found.flags.contains(NameFlags::NO_SERVICE) {
        return Ok(Found::NonTerminal);
    }
    if shape == NameShape::Endpoint {
        // The SRV records of an endpoint have its Service's ports.
        return Ok(if exists && question.qtype != qtype::SRV {
            Found::Record(NameKind::Endpoint)
        } else {
            if !exists {
                *found = NameRecord::NOTHING;
            }
            Found::Below(NameKind::Endpoint)
        });
    }
    Ok(if !exists {
        Found::Missing
    } else if shape == NameShape::Port {
        Found::Record(NameKind::Port)
    } else {
        Found::Record(NameKind::Service)
    })
}

/// Looks for the name of a pod that exists: the pod is stored under its labels, `pod` and
/// the first label of the zone, four labels, which no other name has.
#[inline(always)]
pub(super) fn verified_pod<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
    found: &mut NameRecord,
) -> Result<bool, PassReason> {
    let label_at = question.labels.from_right(2);
    let end = question.zone as usize + 1 + (request.config.zone[0] & 0x3f) as usize;
    let pod = Span {
        at: request.start + DNS_HEADER_LEN + label_at,
        len: end.wrapping_sub(label_at) & 0xff,
    };
    names.look_up_inline(pod, found)
}

/// The working memory in which an endpoint is looked for.
pub(super) struct EndpointSearch<'a> {
    /// The endpoint's record. Where it says something already, only the details are looked
    /// for.
    pub(super) found: &'a mut NameRecord,
    /// Memory for the Service's record.
    pub(super) service: &'a mut NameRecord,
    pub(super) dashed: &'a mut Dashed,
    /// Where the details of the Service's endpoints are.
    pub(super) details: &'a mut DetailsAt,
}

impl EndpointSearch<'_> {
    /// Looks for the endpoint `<endpoint>.<service>.<namespace>.svc` by way of its Service.
    /// Whether there is one.
    #[inline(always)]
    pub(super) fn run<L: Lookup>(
        self,
        names: &mut Names<'_, L>,
        request: Request<'_, L>,
        question: &Question,
    ) -> Result<bool, PassReason> {
        let at = request.start + DNS_HEADER_LEN;
        let (kind_at, service_at) = (question.labels.from_right(0), question.labels.from_right(2));
        let service_name = Span {
            at: at + service_at,
            len: kind_at.wrapping_sub(service_at) & 0xff,
        };
        let exists = names.look_up_inline(service_name, self.service)?;
        let service = verifier::reread(self.service);
        if !exists {
            *service = NameRecord::NOTHING;
        }
        *self.details = DetailsAt::endpoints(service);
        let found = verifier::reread(self.found);
        if found.flags != NameFlags::empty() || found.ipv4 != 0 || found.ipv6 != 0 {
            return Ok(true);
        }
        let number = verifier::reread(&mut *service).service;
        if number == 0 {
            return Ok(false);
        }
        if self.dashed.read(names.image, at)
            && let Some(address) = self.dashed.ipv4()
            && is_regular(request, number, address)
        {
            *found = NameRecord::of_address(Address::from_ipv4_word(address));
            found.service = number;
            return Ok(true);
        }
        if kind_at > KeyClass::Short.bytes() {
            let label = Span {
                at,
                len: usize::from(names.image.u8_at(at)) + 1,
            };
            if names.look_up_endpoint(label, number, found)? {
                return Ok(true);
            }
        }
        if verifier::reread(service)
            .flags
            .contains(NameFlags::ENDPOINTS_UNKNOWN)
        {
            // It may have this endpoint.
            return Err(PassReason::Userspace);
        }
        Ok(false)
    }
}

/// Whether a Service has a regular endpoint with this address, see [`EndpointEntry`].
#[inline(always)]
pub(super) fn is_regular<L: Lookup>(request: Request<'_, L>, service: u32, address: u32) -> bool {
    let entry = EndpointEntry::new(service, address);
    let (key, count) = (&request.config.hash_key, request.config.endpoint_buckets);
    request.lookup.endpoint(entry, entry.buckets(key, count))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::abi::{HashKey, NameKey};

    /// An image in which `bytes` stand at 5, and something else around them.
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

    /// Agent and programs make a key by code of their own: the same key.
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
