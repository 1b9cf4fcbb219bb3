//! Port and protocol in a question's name, and the ports that match them.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{PORT_SCTP, PORT_TCP, PORT_UDP},
    verifier,
    wire::{Image, dns::fold},
};

/// A label that names a port or a protocol, folded and without its underscore. Zeros fill up
/// its 16 bytes.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PortLabel {
    low: u64,
    high: u64,
    len: u64,
}

impl PortLabel {
    /// Reads the label whose length byte is at offset `at`. One underscore at its start is
    /// removed, as CoreDNS does (`parse.go`, `stripUnderscore`).
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

    /// Whether the label is empty and so matches everything: the question has no such label, or
    /// it is a mere underscore.
    #[inline(always)]
    pub(super) const fn is_any(self) -> bool {
        self.len == 0
    }

    /// Whether the label has this length and these bytes.
    #[inline(always)]
    pub(super) const fn is(self, len: u64, low: u64, high: u64) -> bool {
        // One branch instead of three.
        (self.len ^ len) | (self.low ^ low) | (self.high ^ high) == 0
    }

    /// The protocol that the label names, or [`NO_PROTOCOL`].
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

/// A number that is no protocol of a port.
const NO_PROTOCOL: u8 = 0xff;

/// The ports that the question's name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::respond) enum Ports {
    /// No port matches: the name does not exist.
    None = 0,
    /// Ports match, and SRV records lead to at least one of them.
    Numbered = 1,
    /// Ports match, but SRV records lead to none of them: no port has a number, or the Service
    /// has no targets.
    Unnumbered = 2,
    /// Ports match, but not all endpoints have one of them. The addresses under the name depend
    /// on the port then.
    Differing = 3,
    /// The SRV records are written, see [`super::SrvMemory::written`].
    Written = 4,
}

impl Ports {
    /// The value with this number.
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
