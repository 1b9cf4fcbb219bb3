//! One number for everything that a subprogram can say: a function with global linkage
//! returns nothing else.

use super::servers::Ports;
use crate::abi::PassReason;

/// From here on, codes are [`PassReason`]s.
const PASS_CODES: u64 = 1 << 8;

const fn pass(reason: PassReason) -> u64 {
    PASS_CODES + reason as u64
}

/// The code of a result.
#[inline(always)]
pub(super) const fn of(result: Result<Ports, PassReason>) -> u64 {
    match result {
        Ok(ports) => ports as u64,
        Err(reason) => pass(reason),
    }
}

/// The result of a code.
#[inline(always)]
pub(super) const fn result(code: u64) -> Result<Ports, PassReason> {
    const NONE: u64 = Ports::None as u64;
    const NUMBERED: u64 = Ports::Numbered as u64;
    const UNNUMBERED: u64 = Ports::Unnumbered as u64;
    const DIFFERING: u64 = Ports::Differing as u64;
    const WRITTEN: u64 = Ports::Written as u64;
    const CHANGED: u64 = pass(PassReason::Changed);
    const TOO_LARGE: u64 = pass(PassReason::TooLarge);
    const MAP: u64 = pass(PassReason::Map);
    const OUTSIDE_ZONE: u64 = pass(PassReason::OutsideZone);
    Ok(match code {
        NONE => Ports::None,
        NUMBERED => Ports::Numbered,
        UNNUMBERED => Ports::Unnumbered,
        DIFFERING => Ports::Differing,
        WRITTEN => Ports::Written,
        CHANGED => return Err(PassReason::Changed),
        TOO_LARGE => return Err(PassReason::TooLarge),
        MAP => return Err(PassReason::Map),
        OUTSIDE_ZONE => return Err(PassReason::OutsideZone),
        _ => return Err(PassReason::Userspace),
    })
}
