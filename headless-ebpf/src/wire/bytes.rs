//! Buffers of fixed size that are read and written by offset.

/// Bytes that an [`Image`] can hold. A power of two, because offsets are masked.
pub const IMAGE_CAPACITY: usize = 8192;

/// Bytes behind the capacity, so that accesses of up to 64 bytes at the last offset are in
/// bounds.
const SLACK: usize = 64;

/// The copy of a frame, or of a bare DNS message.
pub type Image = Bytes<{ IMAGE_CAPACITY + SLACK }>;

/// The copy of a chunk or of a bucket.
pub type ChunkBytes = Bytes<{ 128 + SLACK }>;

/// A name in wire form, or up to 256 bytes of other data.
pub type NameBytes = Bytes<{ 256 + SLACK }>;

/// A key of the maps of names ([`crate::abi::NameKey`]) that is being built.
pub type KeyBytes = NameBytes;

/// A label with its length byte, or up to 64 bytes of other data.
pub type LabelBytes = Bytes<{ 64 + SLACK }>;

/// A buffer that is read and written by offset.
///
/// `SIZE` is a power of two plus 64. Offsets are taken modulo this power of two, which keeps
/// every access in bounds without a branch and in a form that the BPF verifier understands.
/// Accesses of several bytes need no alignment. The programs are compiled with
/// `allows-misaligned-mem-access`, so that each access is one instruction.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub struct Bytes<const SIZE: usize> {
    bytes: [u8; SIZE],
}

impl<const SIZE: usize> Default for Bytes<SIZE> {
    fn default() -> Self {
        Self { bytes: [0; SIZE] }
    }
}

macro_rules! accessors {
    ($($get:ident $put:ident $type:ty, $doc:literal;)+) => {
        $(
            #[doc = concat!("Reads ", $doc, " at `offset`.")]
            #[inline(always)]
            pub fn $get(&self, offset: usize) -> $type {
                match self.bytes.get(offset & Self::MASK..).and_then(<[u8]>::first_chunk) {
                    Some(bytes) => <$type>::from_le_bytes(*bytes),
                    None => 0,
                }
            }

            #[doc = concat!("Writes ", $doc, " at `offset`.")]
            #[inline(always)]
            pub fn $put(&mut self, offset: usize, value: $type) {
                if let Some(bytes) =
                    self.bytes.get_mut(offset & Self::MASK..).and_then(<[u8]>::first_chunk_mut)
                {
                    *bytes = value.to_le_bytes();
                }
            }
        )+
    };
}

impl<const SIZE: usize> Bytes<SIZE> {
    /// The largest offset, which is the mask of offsets.
    const MASK: usize = {
        assert!((SIZE - SLACK).is_power_of_two());
        SIZE - SLACK - 1
    };

    accessors! {
        u8_at put_u8 u8, "a byte";
        u16_at put_u16 u16, "two bytes in little-endian order";
        u32_at put_u32 u32, "four bytes in little-endian order";
        u64_at put_u64 u64, "eight bytes in little-endian order";
        u128_at put_u128 u128, "sixteen bytes in little-endian order";
    }

    /// The `N` bytes at `offset`, at most 64. Several reads from one window need one mask only.
    #[inline(always)]
    pub fn window<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        const { assert!(N <= SLACK) };
        self.bytes
            .get(offset & Self::MASK..)
            .and_then(<[u8]>::first_chunk)
    }

    /// The `N` bytes at `offset`, at most 64. Several writes to one window need one mask only.
    #[inline(always)]
    pub fn window_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        const { assert!(N <= SLACK) };
        self.bytes
            .get_mut(offset & Self::MASK..)
            .and_then(<[u8]>::first_chunk_mut)
    }

    /// Reads two bytes in network order at `offset`.
    #[inline(always)]
    pub fn be16_at(&self, offset: usize) -> u16 {
        u16::swap_bytes(self.u16_at(offset))
    }

    /// Writes two bytes in network order at `offset`.
    #[inline(always)]
    pub fn put_be16(&mut self, offset: usize, value: u16) {
        self.put_u16(offset, value.swap_bytes());
    }

    /// Writes four bytes in network order at `offset`.
    #[inline(always)]
    pub fn put_be32(&mut self, offset: usize, value: u32) {
        self.put_u32(offset, value.swap_bytes());
    }

    /// The first `N` bytes, at most `SIZE`.
    #[inline(always)]
    pub fn first_chunk<const N: usize>(&self) -> &[u8; N] {
        const { assert!(N <= SIZE) };
        match self.bytes.first_chunk() {
            Some(bytes) => bytes,
            None => &[0; N],
        }
    }

    /// All `SIZE` bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// All `SIZE` bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}
