//! Names below a Service or a namespace: endpoints and verified pods, and whether a namespace
//! has names that the maps do not hold. Only
//! [`super::Subprogram::Below`] runs this code.

use super::{
    names::{Names, Span, is_regular_endpoint},
    request::Request,
    srv::DetailsLocation,
};
use crate::{
    abi::{Address, KeyClass, NameFlags, NameRecord, PassReason},
    maps::Lookup,
    verifier,
    wire::dns::{DNS_HEADER_LEN, Dashed, Question},
};

/// Looks up the name of a pod. Returns whether the pod exists.
///
/// A pod is stored under four labels, a number that no other name has: its address, its
/// namespace, `pod`, and the first label of the zone.
#[inline(always)]
pub(super) fn verified_pod<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
    record: &mut NameRecord,
) -> Result<bool, PassReason> {
    let label_at = question.labels.from_right(2);
    let end = question.zone as usize + 1 + (request.config.zone[0] & 0x3f) as usize;
    let pod = Span {
        at: request.start + DNS_HEADER_LEN + label_at,
        len: end.wrapping_sub(label_at) & 0xff,
    };
    names.look_up_inline(pod, record)
}

/// Whether the namespace of the question's name has names that the maps do not hold. `record`
/// is memory for the namespace's record.
///
/// The namespace is the label next to `svc` or `pod`. A name without such a label is in no
/// namespace: it may find the record of another one, and then passes.
#[inline(always)]
pub(super) fn namespace_yields<L: Lookup>(
    names: &mut Names<'_, L>,
    request: Request<'_, L>,
    question: &Question,
    record: &mut NameRecord,
) -> Result<bool, PassReason> {
    let (kind_at, namespace_at) = (question.labels.from_right(0), question.labels.from_right(1));
    let namespace = Span {
        at: request.start + DNS_HEADER_LEN + namespace_at,
        len: kind_at.wrapping_sub(namespace_at) & 0xff,
    };
    let exists = names.look_up_inline(namespace, record)?;
    let yields = NameFlags::NO_SERVICE.with(NameFlags::ENDPOINTS_UNKNOWN);
    Ok(exists && verifier::reread(record).flags.contains(yields))
}

/// The search for an endpoint, and its working memory.
pub(super) struct EndpointSearch<'a> {
    /// The endpoint's record. If [`super::find`] has filled it in already, the search finds
    /// only the location of the details.
    pub(super) record: &'a mut NameRecord,
    /// Memory for the Service's record.
    pub(super) service: &'a mut NameRecord,
    pub(super) dashed: &'a mut Dashed,
    /// Result: where the details of the Service's endpoints are.
    pub(super) details: &'a mut DetailsLocation,
}

impl EndpointSearch<'_> {
    /// Looks for the endpoint `<endpoint>.<service>.<namespace>.svc`. Returns whether it
    /// exists.
    ///
    /// The Service's record comes first, since the number in it leads to the endpoint:
    /// regular endpoints are entries of [`crate::abi::map::ENDPOINTS`], and endpoints with
    /// long names have endpoint keys.
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
            verifier::clear(service);
        }
        *self.details = DetailsLocation::endpoints(service);
        let record = verifier::reread(self.record);
        if record.flags != NameFlags::empty() || record.ipv4 != 0 || record.ipv6 != 0 {
            return Ok(true);
        }
        let number = verifier::reread(&mut *service).service;
        if number == 0 {
            return Ok(false);
        }
        if self.dashed.read(names.image, at)
            && let Some(address) = self.dashed.ipv4()
            && is_regular_endpoint(request, number, address)
        {
            *record = NameRecord::of_address(Address::from_ipv4_word(address));
            record.service = number;
            return Ok(true);
        }
        if kind_at > KeyClass::Short.bytes() {
            let label = Span {
                at,
                len: usize::from(names.image.u8_at(at)) + 1,
            };
            if names.look_up_endpoint(label, number, record)? {
                return Ok(true);
            }
        }
        if verifier::reread(service)
            .flags
            .contains(NameFlags::ENDPOINTS_UNKNOWN)
        {
            // The Service may have this endpoint without the agent knowing.
            return Err(PassReason::Userspace);
        }
        Ok(false)
    }
}
