//! Which ports a name means.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{PORT_SCTP, PORT_TCP, PORT_UDP, PassReason},
    wire::{Image, WINDOW, fold},
};

/// A label that a port or protocol is compared with, without its underscore.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Wanted {
    low: u64,
    high: u64,
    len: u64,
}

impl Wanted {
    /// The label whose length byte is at `at`. CoreDNS takes one underscore
    /// away, where there is one (`parse.go`, `stripUnderscore`).
    #[inline(always)]
    pub(super) fn read(image: &Image, at: usize) -> Self {
        let underscore = usize::from(image.u8_at(at + 1) == b'_');
        let len = usize::from(image.u8_at(at)).wrapping_sub(underscore) & 0x3f;
        let at = at + 1 + underscore;
        Self {
            low: fold(image.u64_at(at)) & WINDOW.first(len, 0),
            high: fold(image.u64_at(at + 8)) & WINDOW.first(len, 8),
            len: len as u64,
        }
    }

    /// Whether any is meant.
    #[inline(always)]
    pub(super) const fn is_any(self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    pub(super) const fn is(self, len: u64, low: u64, high: u64) -> bool {
        // Sums of differences rather than three branches.
        (self.len ^ len) | (self.low ^ low) | (self.high ^ high) == 0
    }

    /// The protocol of this name; [`NO_PROTOCOL`] where there is none such.
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

/// What no port speaks.
const NO_PROTOCOL: u8 = 0xff;

/// What is under a name as far as ports are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::respond) enum Ports {
    /// No port that is meant.
    None,
    /// Some, and SRV records lead to them.
    Numbered,
    /// Some, to which no SRV record leads.
    Unnumbered,
    /// Some, which not all endpoints have.
    Differing,
    /// The SRV records are written, see [`super::Servers::written`].
    Written,
}

/// From here on, codes are [`PassReason`]s.
const PASS_CODES: u64 = 1 << 8;

impl Ports {
    /// As one number, which is all that a function of its own in the program can
    /// return.
    #[inline(always)]
    pub(in crate::respond) const fn code(self) -> u64 {
        self as u64
    }

    /// The same for a reason to pass.
    #[inline(always)]
    pub(in crate::respond) const fn pass_code(reason: PassReason) -> u64 {
        PASS_CODES + reason as u64
    }

    /// What the code says.
    #[inline(always)]
    pub(in crate::respond) const fn from_code(code: u64) -> Result<Self, PassReason> {
        const NONE: u64 = Ports::None.code();
        const NUMBERED: u64 = Ports::Numbered.code();
        const UNNUMBERED: u64 = Ports::Unnumbered.code();
        const DIFFERING: u64 = Ports::Differing.code();
        const WRITTEN: u64 = Ports::Written.code();
        const CHANGED: u64 = Ports::pass_code(PassReason::Changed);
        const TOO_LARGE: u64 = Ports::pass_code(PassReason::TooLarge);
        const MAP: u64 = Ports::pass_code(PassReason::Map);
        const OUTSIDE_ZONE: u64 = Ports::pass_code(PassReason::OutsideZone);
        Ok(match code {
            NONE => Self::None,
            NUMBERED => Self::Numbered,
            UNNUMBERED => Self::Unnumbered,
            DIFFERING => Self::Differing,
            WRITTEN => Self::Written,
            CHANGED => return Err(PassReason::Changed),
            TOO_LARGE => return Err(PassReason::TooLarge),
            MAP => return Err(PassReason::Map),
            OUTSIDE_ZONE => return Err(PassReason::OutsideZone),
            _ => return Err(PassReason::Userspace),
        })
    }
}
