//! Where the details of a Service are.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{ChunkKind, NameFlags, NameRecord},
    respond::chunks::Extent,
};

/// Where a Service's details are: ports and SRV targets, in chunks.
///
/// The verifier reads this structure from memory, see habit 1 of [`crate::verifier`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(in crate::respond) struct DetailsLocation {
    pub(super) chunks: Extent,
    /// 1 where the Service has these details, else 0.
    exists: u32,
}

impl DetailsLocation {
    /// The location of the details for the Service's own name. Such a name leads to the
    /// Service itself if it has a cluster IP, and else to its endpoints.
    #[inline(always)]
    pub(in crate::respond) fn own(service: &NameRecord) -> Self {
        if service.flags.contains(NameFlags::CLUSTER_IP) {
            Self::where_flagged(service, NameFlags::OWN, ChunkKind::Own)
        } else {
            Self::endpoints(service)
        }
    }

    /// The location of the details for the names of the Service's endpoints.
    #[inline(always)]
    pub(in crate::respond) fn endpoints(service: &NameRecord) -> Self {
        Self::where_flagged(service, NameFlags::ENDPOINTS, ChunkKind::Endpoints)
    }

    /// The location of the details in the chunks of `kind`, which exist if `flag` is set.
    #[inline(always)]
    fn where_flagged(service: &NameRecord, flag: NameFlags, kind: ChunkKind) -> Self {
        Self {
            chunks: Extent::of(service, kind),
            exists: u32::from(service.flags.contains(flag)),
        }
    }

    /// Whether the Service has these details.
    #[inline(always)]
    pub(in crate::respond) const fn exists(self) -> bool {
        self.exists != 0
    }
}
