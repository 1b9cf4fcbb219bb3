//! Reading the details of a Service: which of its ports the question means, and where the SRV
//! targets begin.

use super::{
    memory::SrvMemory,
    ports::{PortLabel, Ports},
    walk::TARGETS_END,
};
use crate::{
    abi::{
        CHUNK_IPV4, ChunkKind, DETAILS_HEADER_LEN, DetailsHeader, NameFlags, NameRecord,
        PORT_HEADER_LEN, PORT_NAME_MAX, PORTS_MAX, PassReason, TARGET_HEADER_LEN,
    },
    maps::Lookup,
    respond::{addresses::put_inline_addresses, chunks::Extent, request::Request},
    verifier,
    wire::{ChunkBytes, Image},
};

impl SrvMemory {
    /// Loads the first chunk of the details and prepares the walk over the targets. Returns
    /// the details' header.
    #[inline(always)]
    pub(in crate::respond) fn open_details<L: Lookup>(
        &mut self,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<DetailsHeader, PassReason> {
        let walk = &mut self.walk;
        walk.chunks = self.details.chunks;
        walk.chunk = 0;
        walk.load(content, request)?;
        let header = DetailsHeader::from_word(content.u64_at(0));
        walk.ports_len = header.ports_len.into();
        walk.first = DETAILS_HEADER_LEN as u32 + walk.ports_len;
        walk.targets = header.targets.into();
        walk.endpoints = header.endpoints.into();
        walk.implicit = (header.flags & DetailsHeader::IMPLICIT).into();
        walk.several = (header.flags & DetailsHeader::SEVERAL).into();
        walk.begin(u32::from(header.chunks).wrapping_sub(1), TARGETS_END);
        Ok(header)
    }

    /// Reads a Service's details and matches its ports with the question. `labels` are the
    /// offsets in the image of the labels that name a port and a protocol. Without labels the
    /// question means all ports.
    #[inline(always)]
    pub(super) fn read_details<L: Lookup>(
        &mut self,
        image: &Image,
        labels: Option<(usize, usize)>,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<Ports, PassReason> {
        (self.name, self.protocol) = match labels {
            Some((name, protocol)) => (
                PortLabel::read(image, name),
                PortLabel::read(image, protocol),
            ),
            None => (PortLabel::default(), PortLabel::default()),
        };
        self.open_details(content, request)?;
        self.match_ports(content);
        let walk = verifier::reread(&mut self.walk);
        Ok(if walk.matched == 0 {
            Ports::None
        } else if walk.numbered == 0 || walk.targets == 0 {
            Ports::Unnumbered
        } else {
            Ports::Numbered
        })
    }

    /// Matches the ports in the first chunk with the asked port and protocol. Counts the
    /// ports that match, and lists the ports with numbers in [`SrvMemory::ports`].
    #[inline(always)]
    fn match_ports(&mut self, content: &ChunkBytes) {
        let walk = verifier::reread(&mut self.walk);
        (walk.matched, walk.numbered, walk.candidates) = (0, 0, 0);
        walk.bits = 0;
        (walk.everywhere, walk.differing, walk.at) = (0, 0, 0);
        let protocol = self.protocol.protocol();
        for port in 0..PORTS_MAX {
            let walk = verifier::reread(&mut self.walk);
            if walk.at >= walk.ports_len {
                break;
            }
            let at = DETAILS_HEADER_LEN + walk.at as usize;
            let len = usize::from(content.u8_at(at)) & PORT_NAME_MAX;
            walk.at += (PORT_HEADER_LEN + len) as u32;
            let count = u32::from(content.u16_at(at + 4));
            let everywhere = u32::from(count >= walk.endpoints);
            walk.differing |= everywhere ^ 1;
            let name = at + PORT_HEADER_LEN;
            let (low, high) = (
                content.u64_at(name) & verifier::mask(len, 0),
                content.u64_at(name + 8) & verifier::mask(len, 8),
            );
            let has_name = self.name.is_any() || self.name.is(len as u64, low, high);
            let has_protocol = self.protocol.is_any() || content.u8_at(at + 1) == protocol;
            if !has_name || !has_protocol {
                continue;
            }
            walk.matched += 1;
            walk.candidates += count;
            walk.everywhere |= everywhere;
            let number = content.u16_at(at + 2);
            if number != 0 {
                let of = u32::from(number) | (port as u32) << 16;
                self.ports.put_u32(walk.numbered as usize * 4, of);
                walk.numbered += 1;
                walk.bits |= 1 << port;
            }
        }
    }

    /// Replaces the targets of the details by one: the asked name itself, with the addresses
    /// in its record and with all ports. `content` then holds this target.
    #[inline(always)]
    pub(super) fn use_name_as_target(&mut self, record: &NameRecord, content: &mut ChunkBytes) {
        let counts = (record.ipv4 & 0xf) | (record.ipv6 & 0xf) << 4;
        content.put_u16(0, u16::MAX);
        content.put_u16(2, counts);
        put_inline_addresses(record, content, TARGET_HEADER_LEN);
        let walk = verifier::reread(&mut self.walk);
        walk.implicit = 0;
        walk.candidates = (u32::from(record.ipv4) + u32::from(record.ipv6)) * walk.matched;
        (walk.targets, walk.first) = (1, 0);
        walk.begin(0, TARGETS_END);
    }

    /// Takes the IPv4 addresses of the Service's record as the targets
    /// ([`DetailsHeader::IMPLICIT`]), and loads the first of them into `content`.
    #[inline(always)]
    pub(super) fn use_addresses_as_targets<L: Lookup>(
        &mut self,
        record: &NameRecord,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<(), PassReason> {
        let walk = verifier::reread(&mut self.walk);
        (walk.targets, walk.first, walk.chunk) = (record.ipv4.into(), 0, 0);
        if record.flags.contains(NameFlags::SET) {
            let last = walk.targets.wrapping_sub(1);
            let last_end = last % CHUNK_IPV4 as u32 * 4 + 1;
            walk.begin(last / CHUNK_IPV4 as u32, last_end);
            walk.chunks = Extent::of(record, ChunkKind::Ipv4);
            walk.load(content, request)
        } else {
            walk.begin(0, TARGETS_END);
            put_inline_addresses(record, content, 0);
            // Once more behind them, so that the walk may begin with any of them.
            put_inline_addresses(record, content, usize::from(record.ipv4) * 4);
            Ok(())
        }
    }

    /// Sets the one port that CoreDNS gives to pods: number 0, without a name (`findPods` in
    /// `kubernetes.go`).
    #[inline(always)]
    pub(super) fn use_port_of_pods(&mut self) {
        self.ports.put_u32(0, 0);
        let walk = &mut self.walk;
        (walk.matched, walk.numbered, walk.bits) = (1, 1, 1);
        (walk.everywhere, walk.differing, walk.implicit) = (1, 0, 0);
    }
}
