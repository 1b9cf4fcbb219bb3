//! The ports that a name means.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{PORT_SCTP, PORT_TCP, PORT_UDP},
    verifier,
    wire::{Image, dns::fold},
};

/// A label of the question that names a port or a protocol, without its underscore.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PortLabel {
    low: u64,
    high: u64,
    len: u64,
}

impl PortLabel {
    /// The label whose length byte is at `at`. CoreDNS takes one underscore
    /// away, where there is one (`parse.go`, `stripUnderscore`).
    #[inline(always)]
    pub(super) fn read(image: &Image, at: usize) -> Self {
        let underscore = usize::from(image.u8_at(at + 1) == b'_');
        let len = usize::from(image.u8_at(at)).wrapping_sub(underscore) & 0x3f;
        let at = at + 1 + underscore;
        Self {
            low: fold(image.u64_at(at)) & verifier::mask(len, 0),
            high: fold(image.u64_at(at + 8)) & verifier::mask(len, 8),
            len: len as u64,
        }
    }

    /// Whether the question leaves it open.
    #[inline(always)]
    pub(super) const fn is_any(self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    pub(super) const fn is(self, len: u64, low: u64, high: u64) -> bool {
        // One branch rather than three.
        (self.len ^ len) | (self.low ^ low) | (self.high ^ high) == 0
    }

    /// The protocol of this name; [`NO_PROTOCOL`] where the name is no protocol's.
    #[inline(always)]
    pub(super) const fn protocol(self) -> u8 {
        const TCP: u64 = u64::from_le_bytes(*b"tcp\0\0\0\0\0");
        const UDP: u64 = u64::from_le_bytes(*b"udp\0\0\0\0\0");
        const SCTP: u64 = u64::from_le_bytes(*b"sctp\0\0\0\0");
        if self.is(3, TCP, 0) {
            PORT_TCP
        } else if self.is(3, UDP, 0) {
            PORT_UDP
        } else if self.is(4, SCTP, 0) {
            PORT_SCTP
        } else {
            NO_PROTOCOL
        }
    }
}

/// A protocol that no port has.
const NO_PROTOCOL: u8 = 0xff;

/// What was found out about the ports that a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::respond) enum Ports {
    /// There are none.
    None = 0,
    /// SRV records lead to some.
    Numbered = 1,
    /// There are some, and SRV records lead to none of them.
    Unnumbered = 2,
    /// There are some, which not all endpoints have.
    Differing = 3,
    /// The SRV records are written, see [`super::SrvMemory::written`].
    Written = 4,
}

impl Ports {
    /// The value of this number.
    #[inline(always)]
    pub(in crate::respond) const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Numbered,
            2 => Self::Unnumbered,
            3 => Self::Differing,
            4 => Self::Written,
            _ => return None,
        })
    }
}
