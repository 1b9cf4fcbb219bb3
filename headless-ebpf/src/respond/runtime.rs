//! What the engine runs in.

use super::{Scratch, find, servers};
use crate::{maps::Lookup, wire::Room};

/// Parts of the engine that only rare questions need. They exchange what they need
/// through [`Scratch`] and return a [`super::code::Code`].
///
/// The BPF programs have them as functions with global linkage, which the verifier
/// checks once and not on every way that leads to them (kernel commit `51c39bb1d5d1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Names below a Service or a namespace: endpoints and verified pods.
    Below,
    /// Addresses in pods' names, ports and SRV records.
    Srv,
    /// Reverse names.
    Reverse,
}

impl Subprogram {
    /// Runs it.
    #[inline(always)]
    pub fn run<R: Room, L: Lookup>(self, scratch: &mut Scratch, lookup: &L) -> u64 {
        let code = match self {
            Self::Below => find::below(scratch, lookup),
            Self::Srv => servers::answer::<R, L>(scratch, lookup),
            Self::Reverse => servers::answer_reverse(scratch, lookup),
        };
        super::code::of(code)
    }
}

/// The working memory of one packet, and how subprograms are called that use it, too.
pub trait Runtime {
    /// The working memory.
    fn scratch(&mut self) -> &mut Scratch;

    /// Runs a subprogram in the same working memory.
    fn call<R: Room, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64;
}

/// On the host a subprogram is an ordinary function.
impl Runtime for Scratch {
    fn scratch(&mut self) -> &mut Scratch {
        self
    }

    fn call<R: Room, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64 {
        subprogram.run::<R, L>(self, lookup)
    }
}

impl<T: Runtime> Runtime for &mut T {
    fn scratch(&mut self) -> &mut Scratch {
        (**self).scratch()
    }

    fn call<R: Room, L: Lookup>(&mut self, subprogram: Subprogram, lookup: &L) -> u64 {
        (**self).call::<R, L>(subprogram, lookup)
    }
}
