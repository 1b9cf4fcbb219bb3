//! From the question's name to its record: which labels of the name are looked up, and what
//! follows from the result.
//!
//! [`look_up_early`] comes first and answers for most questions without reading labels.
//! [`find`] looks at the shape of the name and handles all other questions.

use super::{
    names::{Names, Span},
    request::Request,
    shape::{self, NameKind, NameShape, SVC_LEN},
};
use crate::{
    abi::{KeyClass, NameFlags, NameRecord, PassReason, PodsMode},
    maps::Lookup,
    verifier,
    wire::dns::{DNS_HEADER_LEN, Question, fold, qtype},
};

/// The result of [`find`] for a name in the zone.
pub(super) enum ZoneName {
    /// A name of this kind. Its record is in the working memory.
    Record(NameKind),
    /// A name that can be of this kind. [`super::Subprogram::Below`] finds out.
    Below(NameKind),
    /// A name without records that exists: the zone, `svc`, `pod` or a namespace.
    NonTerminal,
    /// The name that holds the specification's version.
    Version,
    /// A name that does not exist.
    Missing,
}

/// The result of [`look_up_early`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyLookup {
    /// The record of a Service or an endpoint is in the working memory.
    Found,
    /// No record exists under the labels before `svc`.
    Missing,
    /// The labels must be read first.
    Undecided,
}

/// Looks up the labels before `svc` before they are read.
///
/// A key contains the lengths of the labels, so that the key of a stored name can be built
/// without looking at them. Most questions ask for A or AAAA of a stored name.
#[inline(always)]
pub(super) fn look_up_early<L: Lookup>(
    names: &mut Names<'_, L>,
    start: usize,
    question: &Question,
    record: &mut NameRecord,
) -> Result<EarlyLookup, PassReason> {
    let at = start + DNS_HEADER_LEN;
    // The answers for other types depend on the shape of the name.
    if question.qtype != qtype::A && question.qtype != qtype::AAAA {
        return Ok(EarlyLookup::Undecided);
    }
    // One comparison leaves out three kinds of names: shorter than `svc`, nothing before
    // `svc` (both wrap around), and more than 40 bytes before `svc`.
    let len = (question.zone as usize).wrapping_sub(SVC_LEN);
    if len.wrapping_sub(1) >= KeyClass::Short.bytes() {
        return Ok(EarlyLookup::Undecided);
    }
    let name = Span { at, len }.opaque();
    // Keys are padded with zeros, so that a root label before `svc` would look like padding.
    let last = names.image.u8_at(at + name.len.wrapping_sub(1));
    if last == 0 || !shape::is_svc(names.image, at + name.len) {
        return Ok(EarlyLookup::Undecided);
    }
    if shape::is_name_server(fold(names.image.u64_at(at))) {
        return Ok(EarlyLookup::Undecided);
    }
    let hash = names.build_short(name);
    if !names.read(KeyClass::Short, hash, record)? {
        return Ok(EarlyLookup::Missing);
    }
    // Namespaces have no addresses, and pods have no names below `svc`.
    Ok(
        if verifier::reread(record)
            .flags
            .contains(NameFlags::NO_SERVICE)
        {
            EarlyLookup::Undecided
        } else {
            EarlyLookup::Found
        },
    )
}

/// Finds out what the question's name is, and looks up its record where the shape of the
/// name does not decide. `early` is the result of [`look_up_early`], whose look-up is not
/// repeated.
#[inline(always)]
pub(super) fn find<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
    early: EarlyLookup,
    record: &mut NameRecord,
) -> Result<ZoneName, PassReason> {
    let at = request.start + DNS_HEADER_LEN;
    let labels = question.labels;
    let kind_at = labels.from_right(0);
    let shape = shape::of(names.image, at, request.config, question)?;
    let owner_at = match shape {
        NameShape::NonTerminal => return Ok(ZoneName::NonTerminal),
        NameShape::Version => return Ok(ZoneName::Version),
        NameShape::Nothing => return Ok(ZoneName::Missing),
        NameShape::NamespaceOrService | NameShape::Endpoint | NameShape::PodNamespace => 0,
        // The record of a port's Service decides about the port, the record of a pod's
        // namespace about the pod.
        NameShape::Port => labels.from_right(2),
        NameShape::Pod => labels.from_right(1),
    };
    // Endpoints whose names have more than 40 bytes are stored under endpoint keys.
    let is_long_endpoint = shape == NameShape::Endpoint && kind_at > KeyClass::Short.bytes();
    let is_missing = early == EarlyLookup::Missing && owner_at == 0 || is_long_endpoint;
    let owner = Span {
        at: at + owner_at,
        len: kind_at.wrapping_sub(owner_at) & 0xff,
    };
    let exists = !is_missing && names.look_up(owner, record)?;
    let record = verifier::reread(record);
    if shape == NameShape::Pod || shape == NameShape::PodNamespace {
        let pods = request.config.pods;
        return Ok(if pods == PodsMode::Disabled as u32 || !exists {
            ZoneName::Missing
        } else if shape == NameShape::PodNamespace {
            ZoneName::NonTerminal
        } else if pods == PodsMode::Verified as u32 {
            ZoneName::Below(NameKind::VerifiedPod)
        } else {
            // The label next to the namespace holds the address. CoreDNS ignores the labels
            // left of it.
            ZoneName::Record(NameKind::Pod)
        });
    }
    if exists && record.flags.contains(NameFlags::NO_SERVICE) {
        return Ok(ZoneName::NonTerminal);
    }
    if shape == NameShape::Endpoint {
        // The ports in an endpoint's SRV records are stored with its Service, which the
        // subprogram looks up.
        return Ok(if exists && question.qtype != qtype::SRV {
            ZoneName::Record(NameKind::Endpoint)
        } else {
            if !exists {
                verifier::clear(record);
            }
            ZoneName::Below(NameKind::Endpoint)
        });
    }
    Ok(if !exists {
        ZoneName::Missing
    } else if shape == NameShape::Port {
        ZoneName::Record(NameKind::Port)
    } else {
        ZoneName::Record(NameKind::Service)
    })
}
