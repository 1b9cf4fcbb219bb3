//! The shape of a name in the zone: what the name can be, as far as its labels alone say.

use crate::{
    abi::{Config, PassReason},
    verifier,
    wire::{
        Image,
        dns::{Question, fold},
    },
};

/// The kinds of names that have records or are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// `<service>.<namespace>.svc`
    Service,
    /// `<port>.<protocol>.<service>.<namespace>.svc`
    Port,
    /// `<endpoint>.<service>.<namespace>.svc`
    Endpoint,
    /// `<address>.<namespace>.pod` with any address
    Pod,
    /// `<address>.<namespace>.pod` with the address of a pod that exists
    VerifiedPod,
    /// The namespace of a name that does not exist in the maps
    Namespace,
}

/// The shape of a name in the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameShape {
    /// The zone, `svc` or `pod`: they exist and have no records.
    NonTerminal,
    /// `dns-version`, the name that holds the specification's version.
    Version,
    /// No name of this shape exists.
    Nothing,
    /// One or two labels before `svc`: a namespace or a Service.
    NamespaceOrService,
    /// Three labels before `svc`: an endpoint of a Service.
    Endpoint,
    /// Four labels before `svc`: a port of a Service.
    Port,
    /// One label before `pod`: a namespace.
    PodNamespace,
    /// Two to four labels before `pod`: a pod. CoreDNS ignores labels left of the address.
    Pod,
}

/// The label `svc` with its length byte.
pub(super) const SVC: u32 = u32::from_le_bytes(*b"\x03svc");
/// Bytes of [`SVC`].
pub(super) const SVC_LEN: usize = size_of_val(&SVC);
/// The label `pod` with its length byte.
const POD: u32 = u32::from_le_bytes(*b"\x03pod");
/// `\2ns\3dns`, the first labels of the zone's name server. The highest byte does not count.
const NAME_SERVER: u64 = u64::from_le_bytes(*b"\x02ns\x03dns\0");
/// Bytes of [`NAME_SERVER`].
const NAME_SERVER_LEN: usize = 7;
/// `\13dns-version`, under which the specification's version is found (Kubernetes DNS
/// specification, section 2.2).
const DNS_VERSION: (u64, u32) = (
    u64::from_le_bytes(*b"\x0bdns-ver"),
    u32::from_le_bytes(*b"sion"),
);

/// Whether a folded name that begins with this word begins with `ns.dns`.
#[inline(always)]
pub(super) const fn is_name_server(word: u64) -> bool {
    word << 8 == NAME_SERVER << 8
}

/// Whether the label `svc` is at offset `at`. Case does not matter.
#[inline(always)]
pub(super) fn is_svc(image: &Image, at: usize) -> bool {
    fold(u64::from(image.u32_at(at))) as u32 == SVC
}

/// The shape of the question's name, which is at offset `name`. Labels are read from the right,
/// as CoreDNS reads them (`parse.go`). [`PassReason::Userspace`] for the name server's name.
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
    // An offset of 0 is the name's first label. Offsets of labels that do not exist are 0, too.
    let [namespace_at, service_at, endpoint_at, port_at] =
        [1, 2, 3, 4].map(|n| labels.from_right(n));
    Ok(if port_at != 0 {
        // No name has more labels than `_port._protocol.service.namespace`. Most names that a
        // resolver makes by its search list end here.
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

/// Whether the zone follows the first seven bytes of the name.
///
/// CoreDNS takes every name that begins with `ns.dns.<zone>` for the zone's name server,
/// including the names that a search list makes of it (`isDefaultNS`). The comparison of at most
/// eight bytes of the zone, without its root, may leave more names to userspace, but no fewer.
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
