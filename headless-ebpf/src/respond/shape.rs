//! What a name can be, by its labels alone.

use crate::{
    abi::{Config, PassReason},
    verifier,
    wire::{
        Image,
        dns::{Question, fold},
    },
};

/// The kinds of names that have records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// `<service>.<namespace>.svc`
    Service,
    /// `<port>.<protocol>.<service>.<namespace>.svc`
    Port,
    /// `<endpoint>.<service>.<namespace>.svc`
    Endpoint,
    /// `<address>.<namespace>.pod`, whatever the address
    Pod,
    /// The same of a pod that exists
    VerifiedPod,
}

/// What a name in the zone can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameShape {
    /// The zone, `svc` or `pod`: they exist and have no records.
    NonTerminal,
    /// The name of the specification's version.
    Version,
    /// There is nothing of this shape.
    Nothing,
    /// A namespace below `svc`, or a Service.
    NamespaceOrService,
    /// An endpoint of a Service.
    Endpoint,
    /// A port of a Service.
    Port,
    /// A namespace below `pod`.
    PodNamespace,
    /// A pod, or a name below one.
    Pod,
}

/// `\3svc`, as it stands in a name.
pub(super) const SVC: u32 = u32::from_le_bytes(*b"\x03svc");
/// Bytes of it.
pub(super) const SVC_LEN: usize = size_of_val(&SVC);
/// `\3pod`.
const POD: u32 = u32::from_le_bytes(*b"\x03pod");
/// `\2ns\3dns`, with which the name server's own name begins; the last byte does
/// not count.
const NAME_SERVER: u64 = u64::from_le_bytes(*b"\x02ns\x03dns\0");
/// Bytes of it.
const NAME_SERVER_LEN: usize = 7;
/// `\13dns-version`, the specification's version.
const DNS_VERSION: (u64, u32) = (
    u64::from_le_bytes(*b"\x0bdns-ver"),
    u32::from_le_bytes(*b"sion"),
);

/// Whether a folded name that begins with this word begins with `ns.dns`.
#[inline(always)]
pub(super) const fn is_name_server(word: u64) -> bool {
    word << 8 == NAME_SERVER << 8
}

/// Whether `\3svc` stands at `at`, in any case.
#[inline(always)]
pub(super) fn is_svc(image: &Image, at: usize) -> bool {
    fold(u64::from(image.u32_at(at))) as u32 == SVC
}

/// The shape of the question's name, which stands at `name`: read from the right, as
/// CoreDNS does (`parse.go`). An error where userspace answers for a name.
#[inline(always)]
pub(super) fn of(
    image: &Image,
    name: usize,
    config: &Config,
    question: &Question,
) -> Result<NameShape, PassReason> {
    if question.zone == 0 {
        return Ok(NameShape::NonTerminal);
    }
    if is_name_server(fold(image.u64_at(name))) && zone_follows(image, name, config) {
        return Err(PassReason::Userspace);
    }
    let labels = question.labels;
    let kind_at = labels.from_right(0);
    let is_pod = match fold(u64::from(image.u32_at(name + kind_at))) as u32 {
        SVC => false,
        POD => true,
        _ if kind_at == 0 && is_dns_version(image, name) => return Ok(NameShape::Version),
        _ => return Ok(NameShape::Nothing),
    };
    if kind_at == 0 {
        return Ok(NameShape::NonTerminal);
    }
    // Only the first label starts at 0: the first zero ends the list.
    let [namespace_at, service_at, endpoint_at, port_at] =
        [1, 2, 3, 4].map(|n| labels.from_right(n));
    Ok(if port_at != 0 {
        // Deeper than `_port._protocol.service.namespace` nothing exists. This
        // is the fate of most names that a search list makes up.
        NameShape::Nothing
    } else if is_pod {
        if namespace_at == 0 {
            NameShape::PodNamespace
        } else {
            NameShape::Pod
        }
    } else if namespace_at == 0 || service_at == 0 {
        NameShape::NamespaceOrService
    } else if endpoint_at == 0 {
        NameShape::Endpoint
    } else {
        NameShape::Port
    })
}

/// Whether the zone stands behind the first seven bytes of the name.
///
/// CoreDNS takes a name that merely begins with `ns.dns.<zone>` for the zone's
/// name server, such as those that a search list makes of it (`isDefaultNS`).
/// The zone's first bytes without its root are enough to leave such a name alone.
#[inline(always)]
fn zone_follows(image: &Image, name: usize, config: &Config) -> bool {
    let zone_begins = verifier::mask((config.zone_len as usize).wrapping_sub(1), 0);
    (fold(image.u64_at(name + NAME_SERVER_LEN)) ^ config.zone[0]) & zone_begins == 0
}

/// Whether the name's first label is `dns-version`.
#[inline(always)]
fn is_dns_version(image: &Image, name: usize) -> bool {
    fold(image.u64_at(name)) == DNS_VERSION.0
        && fold(u64::from(image.u32_at(name + 8))) as u32 == DNS_VERSION.1
}
