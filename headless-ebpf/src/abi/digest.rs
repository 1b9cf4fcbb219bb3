//! A digest of data layouts, which the compiler calculates.

/// A digest of 64 bits (FNV-1a, RFC 9923). It is good enough to notice a change, and simple
/// enough for constant evaluation. It resists no attack.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    /// The digest of nothing.
    pub(super) const NEW: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Appends bytes.
    pub(super) const fn bytes(self, bytes: &[u8]) -> Self {
        let mut value = self.0;
        let mut i = 0;
        while i < bytes.len() {
            value = (value ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
            i += 1;
        }
        Self(value)
    }

    /// Appends a number.
    pub(super) const fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// Appends a text with its length.
    pub(super) const fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    /// The digest as a number.
    pub(super) const fn value(self) -> u64 {
        self.0
    }
}

/// A layout whose digest is part of [`super::LAYOUT`].
pub(super) trait Described {
    /// Digest of the name, the size and the fields with their types and offsets.
    const DIGEST: u64;
}

/// Implements [`Described`] for a `repr(C)` structure. The invocation repeats the fields, and does
/// not compile where a field is missing or has another type.
macro_rules! describe {
    ($name:ident { $($field:ident: $type:ty,)+ }) => {
        impl $crate::abi::digest::Described for $name {
            const DIGEST: u64 = {
                const fn complete($name { $($field,)+ }: $name) {
                    $(let _: $type = $field;)+
                }
                let _: fn($name) = complete;
                $crate::abi::digest::Digest::NEW
                    .text(stringify!($name))
                    .number(size_of::<$name>() as u64)
                    $(
                        .text(stringify!($field))
                        .text(stringify!($type))
                        .number(core::mem::offset_of!($name, $field) as u64)
                        .number(size_of::<$type>() as u64)
                    )+
                    .value()
            };
        }
    };
}

/// The digest of values with their names.
macro_rules! digest_of {
    ($($name:path = $value:expr,)+) => {
        $crate::abi::digest::Digest::NEW
            $(.text(stringify!($name)).number($value as u64))+
            .value()
    };
}

pub(super) use {describe, digest_of};
