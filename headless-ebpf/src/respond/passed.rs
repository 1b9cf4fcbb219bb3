//! Whether the question's name passes because of CoreDNS's configuration. Only
//! [`super::Subprogram::Passed`] runs this code.

use super::{
    names::{Names, Span},
    request::Request,
};
use crate::{
    abi::PassedNames,
    maps::Lookup,
    verifier,
    wire::dns::{DNS_HEADER_LEN, Question},
};

/// Whether the name of a question in the zone is in [`crate::abi::Config::passed`].
#[inline(always)]
pub(super) fn is_passed<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
) -> bool {
    let name = Span {
        at: request.start + DNS_HEADER_LEN,
        len: question.zone as usize & 0xff,
    };
    let hash = PassedNames::finish(names.hash_inline(name));
    verifier::reload(request.config).passed.has(hash)
}
